/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/trace/trace.h"

/* A process takes a pidfd and, where its memory is read, one more. */
static size_t get_processes_max(void)
{
    const rlim_t reserve = 64;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < 2 * reserve)
        return reserve / 2;
    if (limit.rlim_cur > 2 * TRACE_THREADS_MAX + reserve)
        return TRACE_THREADS_MAX;
    return (size_t)(limit.rlim_cur - reserve) / 2;
}

int trace_new(const struct trace_hooks *hooks, void *userdata, struct ledger *ledger,
              struct trace **ret)
{
    struct trace *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->hooks = *hooks;
    t->userdata = userdata;
    t->ledger = ledger;
    t->can_raise = true;
    t->lastwait_fd = -1;
    t->processes_max = get_processes_max();
    arch_xsave_probe(&t->xsave);
    turns_init(&t->turns);
    TAILQ_INIT(&t->processes);
    TAILQ_INIT(&t->strays);
    TAILQ_INIT(&t->sessions);
    ledger_set_tracer(ledger, getpid());
    *ret = t;
    return 0;
}

/* Its record in the ledger stays: a signal that the thread stands at is lost with us, unless the
 * guardian finds it there. */
static void forget_tracee(struct trace *t, struct tracee *tracee)
{
    tracee->ledger_slot = -1;
    process_remove_tracee(t, tracee);
}

static void forget_process(struct trace *t, struct process *p)
{
    while (!TAILQ_EMPTY(&p->tracees))
        forget_tracee(t, TAILQ_FIRST(&p->tracees));
    while (!TAILQ_EMPTY(&p->attachments))
        process_detach(t, TAILQ_FIRST(&p->attachments), REMOVED_DETACHED);
    p->n_pins = 0;
    process_collect(t, p);
}

static void ignore_event(struct session *s, void *userdata)
{
}

static void ignore_process(struct session *s, pid_t pid, pid_t parent, void *userdata)
{
}

static void ignore_removal(struct session *s, pid_t pid, enum removal why, void *userdata)
{
}

struct trace *trace_free(struct trace *t)
{
    if (!t)
        return NULL;
    t->leaving = true;
    ledger_leave(t->ledger);
    t->hooks = (struct trace_hooks){ignore_event, ignore_process, ignore_removal};
    while (!TAILQ_EMPTY(&t->processes))
        forget_process(t, TAILQ_FIRST(&t->processes));
    while (!TAILQ_EMPTY(&t->strays))
        forget_tracee(t, TAILQ_FIRST(&t->strays));
    while (!TAILQ_EMPTY(&t->sessions))
        session_free(t, TAILQ_FIRST(&t->sessions));
    tidmap_done(&t->tids);
    if (t->lastwait_fd >= 0)
        close(t->lastwait_fd);
    free(t);
    return NULL;
}

static bool process_is_idle(const struct process *p)
{
    const struct tracee *tracee;

    if (!TAILQ_EMPTY(&p->attachments))
        return false;
    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        if (tracee->state != TRACEE_EXITING || tracee->tid != p->pidref.pid)
            return false;
    return true;
}

bool trace_is_idle(const struct trace *t)
{
    const struct process *p;

    if (!TAILQ_EMPTY(&t->strays))
        return false;
    TAILQ_FOREACH(p, &t->processes, processes)
        if (!process_is_idle(p))
            return false;
    return true;
}

enum block_step trace_get_block_step(struct trace *t)
{
    if (t->block_step == BLOCK_STEP_UNKNOWN)
        (void)block_step_probe(&t->block_step);
    return t->block_step;
}
