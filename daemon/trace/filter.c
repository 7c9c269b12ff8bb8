/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/trace/filter.h"

#define X32_FLAG 0x40000000u /* __X32_SYSCALL_BIT */

struct filter *filter_new(const struct filter *from)
{
    struct filter *f = malloc(sizeof(*f));

    if (!f)
        return NULL;
    *f = *from;
    f->references = 1;
    return f;
}

struct filter *filter_ref(struct filter *f)
{
    f->references++;
    return f;
}

struct filter *filter_unref(struct filter *f)
{
    if (f && --f->references == 0)
        free(f);
    return NULL;
}

static bool has(const uint64_t *set, size_t max, uint64_t n)
{
    return n < max && (set[n / 64] >> (n % 64) & 1);
}

int filter_add_call(struct filter *f, uint64_t number)
{
    if (number >= FILTER_CALLS_MAX)
        return -ERANGE;
    f->chosen_calls = true;
    f->calls[number / 64] |= UINT64_C(1) << (number % 64);
    return 0;
}

int filter_add_errno(struct filter *f, int error)
{
    if (error < 0 || error >= (int)FILTER_ERRNOS_MAX)
        return -ERANGE;
    f->chosen_results = true;
    f->errnos[error / 64] |= UINT64_C(1) << (error % 64);
    return 0;
}

static bool wants_result(const struct filter *f, const struct event *e)
{
    if (!f->chosen_results)
        return true;
    if (!e->call.failed)
        return has(f->errnos, FILTER_ERRNOS_MAX, 0);
    return f->any_error || has(f->errnos, FILTER_ERRNOS_MAX, (uint64_t)-e->call.result);
}

bool filter_asks_for_seccomp(const struct filter *f)
{
    return ((f->report | f->stops) & EVENT_BIT(EVENT_SECCOMP)) != 0;
}

bool filter_wants_call(const struct filter *f, const struct event *e)
{
    if (f->chosen_calls && !has(f->calls, FILTER_CALLS_MAX, e->call.number & ~(uint64_t)X32_FLAG))
        return false;
    return e->kind != EVENT_SYSCALL_EXIT || wants_result(f, e);
}

static bool is_silenced(const struct filter *f, const struct event *e, bool leader)
{
    switch (e->kind) {
    case EVENT_SIGNAL:
        return e->signal.signo > 0 && has(&f->pass_signals, 64, (uint64_t)e->signal.signo - 1);
    case EVENT_CLONE:
        return f->quiet_threads && e->child.thread;
    case EVENT_EXIT:
    case EVENT_EXITED:
    case EVENT_KILLED:
        return f->quiet_exit && !leader;
    case EVENT_SYSCALL_ENTER:
    case EVENT_SYSCALL_EXIT:
        return !filter_wants_call(f, e);
    case EVENT_STOP:
    case EVENT_GROUP_STOP:
    case EVENT_FORK:
    case EVENT_VFORK:
    case EVENT_VFORK_DONE:
    case EVENT_EXEC:
    case EVENT_LOST:
    case EVENT_STEP:
    case EVENT_BREAKPOINT:
    case EVENT_WATCHPOINT:
    case EVENT_SECCOMP:
    case EVENT_KIND_MAX:
        break;
    }
    return false;
}

enum filter_verdict filter_judge(const struct filter *f, const struct event *e, bool leader)
{
    const uint32_t bit = EVENT_BIT(e->kind);

    if (!((f->report | f->stops) & bit) || is_silenced(f, e, leader))
        return FILTER_DROP;
    return (f->stops & bit) && !(bit & EVENT_ENDS) ? FILTER_HOLD : FILTER_REPORT;
}
