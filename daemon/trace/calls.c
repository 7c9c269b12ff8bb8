/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/ptrace.h>

#include "daemon/trace/calls.h"
#include "daemon/trace/captures.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/trap.h"

/* System calls, by PTRACE_GET_SYSCALL_INFO (Linux 5.3): it says at which end of the call a thread
 * stands, so that nobody has to count stops. What the entry says is kept for the exit, of which the
 * kernel tells the result alone. */

static void tell(struct trace *t, struct tracee *tracee, struct engine *engine, struct event *e)
{
    const struct filter *f = engine->attachment->filter;
    bool leader = tracee->tid == engine->attachment->process->pidref.pid;
    enum filter_verdict verdict = filter_judge(f, e, leader);
    bool hold = verdict == FILTER_HOLD;

    if (e->kind != EVENT_SECCOMP && engine->mode == RESUME_SYSCALL && filter_wants_call(f, e))
        hold = true;
    if (!hold && verdict == FILTER_DROP)
        return;
    if (f->n_captures > 0 && e->kind != EVENT_SECCOMP)
        e->data = captures_take(tracee->process, f, e, tracee->arguments);
    engine_tell(t, tracee, engine, e, hold);
    e->data = event_data_unref(e->data);
}

static void tell_all(struct trace *t, struct tracee *tracee, struct event *e)
{
    for (struct engine *engine = tracee->engines; engine; engine = engine->next)
        tell(t, tracee, engine, e);
}

static void on_entry(struct trace *t, struct tracee *tracee,
                     const struct __ptrace_syscall_info *info)
{
    struct event e = {.kind = EVENT_SYSCALL_ENTER,
                      .call = {.number = info->entry.nr, .arch = info->arch}};

    _Static_assert(sizeof(e.call.arguments) == sizeof(info->entry.args), "six arguments");
    memcpy(e.call.arguments, info->entry.args, sizeof(e.call.arguments));
    memcpy(tracee->arguments, info->entry.args, sizeof(tracee->arguments));
    tracee->call = info->entry.nr;
    tracee->call_is_known = true;
    tell_all(t, tracee, &e);
}

/* It was entered before we looked, or by the thread whose id an exec has taken away. */
static void find_call(struct tracee *tracee)
{
    uint64_t number;

    memset(tracee->arguments, 0, sizeof(tracee->arguments));
    tracee->call = UINT64_MAX;
    if (regs_read_role(tracee->tid, ARCH_SYSCALL, &number) >= 0)
        tracee->call = number;
}

static void on_exit(struct trace *t, struct tracee *tracee,
                    const struct __ptrace_syscall_info *info)
{
    struct event e = {
        .kind = EVENT_SYSCALL_EXIT,
        .call = {.arch = info->arch, .result = info->exit.rval, .failed = info->exit.is_error}};

    if (!tracee->call_is_known)
        find_call(tracee);
    e.call.number = tracee->call;
    tracee->call_is_known = false;
    tell_all(t, tracee, &e);
    if (tracee->steps_over_call) {
        tracee->steps_over_call = false;
        trap_on_step(t, tracee);
    }
}

static void on_seccomp(struct trace *t, struct tracee *tracee,
                       const struct __ptrace_syscall_info *info)
{
    struct event e = {.kind = EVENT_SECCOMP,
                      .call = {.number = info->seccomp.nr,
                               .arch = info->arch,
                               .seccomp_data = info->seccomp.ret_data}};

    memcpy(e.call.arguments, info->seccomp.args, sizeof(e.call.arguments));
    tell_all(t, tracee, &e);
}

void calls_on_stop(struct trace *t, struct tracee *tracee)
{
    struct __ptrace_syscall_info info;

    if (!tracee->process || ptrace_ops_get_syscall_info(tracee->tid, &info) < 0)
        return; /* a stray; killed meanwhile */
    switch (info.op) {
    case PTRACE_SYSCALL_INFO_ENTRY:
        on_entry(t, tracee, &info);
        break;
    case PTRACE_SYSCALL_INFO_EXIT:
        on_exit(t, tracee, &info);
        break;
    case PTRACE_SYSCALL_INFO_SECCOMP:
        on_seccomp(t, tracee, &info);
        break;
    default:
        break;
    }
}
