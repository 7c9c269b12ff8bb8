/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "daemon/trace/batch.h"
#include "daemon/trace/chaperone.h"
#include "daemon/trace/grant.h"
#include "daemon/trace/wait.h"

/* Its only effect is EINTR. */
static void on_tick(int signo)
{
}

static void set_ticking(bool on)
{
    const suseconds_t usec = on ? BATCH_PATIENCE_USEC : 0;
    const struct itimerval timer = {.it_interval.tv_usec = usec, .it_value.tv_usec = usec};

    if (on) {
        /* Without SA_RESTART. The interval repeats, so that a tick between two waits is no loss. */
        const struct sigaction action = {.sa_handler = on_tick};

        sigaction(SIGALRM, &action, NULL);
    }
    setitimer(ITIMER_REAL, &timer, NULL);
}

uint64_t batch_raised_left(const struct trace *t, uint64_t now)
{
    uint64_t left;

    if (!t->by_grant)
        return BATCH_RAISED_USEC;
    left = t->raised_left + (now - t->raised_at) / t->raised_share;
    return left < BATCH_RAISED_USEC ? left : BATCH_RAISED_USEC;
}

void batch_begin_to_share(struct trace *t, const struct grant *g)
{
    t->by_grant = true;
    t->raised_at = event_now_usec();
    t->raised_left = g->raised_usec;
    t->raised_share = g->raised_share;
}

/* What is not worth two system calls is saved up. */
#define RAISED_LEAST_USEC 1000u

static void raise_class(struct batch *b)
{
    const uint64_t now = event_now_usec(), left = batch_raised_left(b->trace, now);
    struct sched_param param;

    if (!b->trace->can_raise || left < RAISED_LEAST_USEC)
        return;
    b->old_policy = sched_getscheduler(0);
    if (b->old_policy < 0 || sched_getparam(0, &param) < 0)
        return;
    b->old_policy &= ~SCHED_RESET_ON_FORK;
    b->old_priority = param.sched_priority;
    param.sched_priority = sched_get_priority_min(SCHED_FIFO);
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) < 0) {
        b->trace->can_raise = false;
        return;
    }
    b->trace->raised_left = left;
    b->trace->raised_at = now;
    b->raised_until = now + left;
    b->raised = true;
}

/* The flag stays: the kernel lets nobody clear it without CAP_SYS_NICE, and the right to raise may
 * come from RLIMIT_RTPRIO alone. */
static void lower_class(struct batch *b)
{
    const struct sched_param param = {.sched_priority = b->old_priority};
    const uint64_t now = b->raised ? event_now_usec() : 0;

    if (b->raised) {
        uint64_t used = now - b->trace->raised_at;

        b->trace->raised_left -= used < b->trace->raised_left ? used : b->trace->raised_left;
        b->trace->raised_at = now;
    }
    if (b->raised && sched_setscheduler(0, b->old_policy | SCHED_RESET_ON_FORK, &param) < 0)
        b->trace->can_raise = false;
    b->raised = false;
}

void batch_begin(struct batch *b, struct trace *t)
{
    *b = (struct batch){.trace = t, .outermost = t->batch ? t->batch : b};
    if (t->batch)
        return;
    t->batch = b;
    raise_class(b);
    set_ticking(true);
}

/* By the clock: ticks that fall between two waits are not counted by anyone. */
void batch_bound(struct batch *b)
{
    struct batch *o = b->outermost;

    if (o->raised && event_now_usec() >= o->raised_until)
        lower_class(o);
}

void batch_end(struct batch *b)
{
    if (b->outermost != b)
        return;
    b->trace->batch = NULL;
    set_ticking(false);
    lower_class(b);
}

/* Returns whether patience goes on. */
static bool tick(struct batch *b)
{
    bool progress = b->progress;

    b->progress = false;
    if (!progress)
        b->n_late++;
    return progress;
}

bool batch_is_leaving(const struct tracee *tracee)
{
    if (tracee->engines || tracee->in_vfork || chaperone_is_needed(tracee))
        return false;
    switch ((enum tracee_state)tracee->state) {
    case TRACEE_NEW:
    case TRACEE_STOPPING:
    case TRACEE_RUNNING: /* killed out of its stop: its end is coming */
        return true;
    case TRACEE_EXITING:
        return !tracee->process || tracee->tid != tracee->process->pidref.pid;
    case TRACEE_STOPPED:
    case TRACEE_LISTENING:
    case TRACEE_GONE:
    case TRACEE_STATE_MAX:
        break;
    }
    return false;
}

/* Whether something is to be reported soon. */
static bool is_awaited(const struct tracee *tracee)
{
    if (!tracee || tracee->in_vfork)
        return false;
    return tracee->state == TRACEE_STOPPING || tracee->state == TRACEE_NEW ||
           batch_is_leaving(tracee);
}

void batch_collect(struct batch *b, pid_t tid)
{
    while (is_awaited(tidmap_get(&b->trace->tids, tid))) {
        siginfo_t report;
        int r = wait_thread(tid, WNOWAIT | (b->n_late >= BATCH_LATE_MAX ? WNOHANG : 0), &report);

        batch_bound(b);
        if (r > 0) {
            b->progress = true;
            trace_dispatch(b->trace, &report);
        } else if (r == -ECHILD) {
            /* Its id is gone by an exec, which the leader's next report tells; that may be long in
             * coming, and nobody else counts the rounds until then. */
            b->n_late++;
            break;
        } else if (r != -EINTR || !tick(b))
            break;
    }
}

bool batch_collect_next(struct batch *b, pid_t tid)
{
    for (;;) {
        siginfo_t report;
        int r = wait_thread(tid, WNOWAIT, &report);

        batch_bound(b);
        if (r > 0) {
            trace_dispatch(b->trace, &report);
            return true;
        }
        if (r != -EINTR || !tick(b))
            return false;
    }
}

int batch_list_threads(const struct process *p, pid_t **ret, size_t *ret_n)
{
    const struct tracee *tracee;
    pid_t *tids = malloc((p->n_tracees + 1) * sizeof(*tids));
    size_t n = 0;

    if (!tids)
        return -ENOMEM;
    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        tids[n++] = tracee->tid;
    *ret = tids;
    *ret_n = n;
    return 0;
}
