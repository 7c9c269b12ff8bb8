/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/trace/batch.h"
#include "daemon/trace/control.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/stepover.h"
#include "daemon/trace/trace.h"

int control_find_engine(struct trace *t, struct session *s, pid_t pid, pid_t tid,
                        struct tracee **ret_tracee, struct engine **ret_engine)
{
    struct attachment *a = session_find(s, pid);
    struct tracee *tracee = tidmap_get(&t->tids, tid);
    struct engine *e;

    if (!a)
        return -EUNATCH;
    e = tracee ? engine_find(tracee, a) : NULL;
    if (!e)
        return -EUNATCH;
    *ret_tracee = tracee;
    *ret_engine = e;
    return 0;
}

/* Makes one session hold one thread. 1: held or on its way; 0: it was held already, or the session
 * only observes and has no time left. */
static int interrupt_engine(struct trace *t, struct tracee *tracee, struct engine *e)
{
    struct event event = {.kind = EVENT_STOP};

    if (e->held || !observe_may_hold(e->attachment))
        return 0;
    switch ((enum tracee_state)tracee->state) {
    case TRACEE_STOPPED: /* for another session */
        engine_tell(t, tracee, e, &event, true);
        return e->held ? 1 : -ENOMEM;
    case TRACEE_NEW: /* its first stop is coming */
        e->interrupting = true;
        return 1;
    case TRACEE_RUNNING:
    case TRACEE_LISTENING:
    case TRACEE_STOPPING:
        /* -ESRCH: dying, which a wait will tell. */
        if (tracee->state != TRACEE_STOPPING && ptrace_ops_interrupt(tracee->tid) >= 0)
            tracee_apply(tracee, TRACEE_INTERRUPT);
        if (!e->interrupting)
            turns_hurry(&t->turns, tracee);
        e->interrupting = true;
        return 1;
    case TRACEE_EXITING: /* a zombie leader takes no interrupt: its stop would never come */
    case TRACEE_GONE:
    case TRACEE_STATE_MAX:
        break;
    }
    return -ESRCH;
}

/* One round: tells each thread that is not told yet, then waits for each. Returns how many were
 * told: a creator that was stopped in its clone event brings a new thread with it. */
static int interrupt_round(struct batch *b, struct attachment *a)
{
    _cleanup_free_ pid_t *tids = NULL;
    struct tracee *tracee;
    int told = 0, r;
    size_t n;

    r = batch_list_threads(a->process, &tids, &n);
    if (r < 0)
        return r;
    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        struct engine *e = engine_find(tracee, a);

        if (e && !e->held && !e->interrupting && interrupt_engine(b->trace, tracee, e) > 0)
            told++;
    }
    for (size_t i = 0; i < n; i++)
        batch_collect(b, tids[i]);
    return told;
}

static int interrupt_process(struct trace *t, struct session *s, pid_t pid)
{
    struct attachment *a = session_find(s, pid);
    struct batch b;
    int r = 1;

    if (!a)
        return -EUNATCH;
    if (renew_is_awaited(a)) {
        if (a->renewal.engine)
            a->renewal.engine->interrupting = true;
        return 1;
    }
    batch_begin(&b, t);
    /* The process may end, and its attachment with it, while we wait. */
    while (r > 0 && (a = session_find(s, pid)))
        r = interrupt_round(&b, a);
    batch_end(&b);
    return r < 0 ? r : 1;
}

int trace_interrupt(struct trace *t, struct session *s, pid_t pid, pid_t tid)
{
    struct tracee *tracee;
    struct engine *e;
    int r;

    if (tid == 0) {
        r = interrupt_process(t, s, pid);
        stepover_run_later(t);
        return r;
    }
    r = control_find_engine(t, s, pid, tid, &tracee, &e);
    return r < 0 ? r : interrupt_engine(t, tracee, e);
}

bool trace_awaits_stops(const struct attachment *a)
{
    const struct tracee *tracee;

    if (a->renewal.engine && a->renewal.engine->interrupting)
        return true;
    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        const struct engine *e = engine_find(tracee, a);

        if (e && e->interrupting && !e->held && !tracee->in_vfork &&
            (tracee->state == TRACEE_STOPPING || tracee->state == TRACEE_NEW))
            return true;
    }
    return false;
}

/* All others of an all-stop process follow, each with its own event. Those that come later find
 * has_stopped. */
static void gather_process(struct trace *t, struct attachment *a)
{
    struct tracee *tracee;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        struct engine *e = engine_find(tracee, a);

        if (e && !e->held && !e->interrupting)
            (void)interrupt_engine(t, tracee, e);
    }
}

static bool has_held(const struct attachment *a)
{
    const struct tracee *tracee;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        const struct engine *e = engine_find(tracee, a);

        if (e && e->held)
            return true;
    }
    return false;
}

void control_gather(struct trace *t)
{
    struct session *s;
    struct attachment *a;

    t->gather = false;
    TAILQ_FOREACH(s, &t->sessions, sessions)
        TAILQ_FOREACH(a, &s->attachments, by_session) {
            if (!a->all_stop || a->has_stopped || !has_held(a))
                continue;
            a->has_stopped = true;
            gather_process(t, a);
        }
}

static bool has_stepped_into_handler(const struct tracee *tracee)
{
    siginfo_t info;

    return tracee->stop == STOP_STEP && ptrace_ops_get_siginfo(tracee->tid, &info) >= 0 &&
           info.si_code == STOP_CODE_HANDLER;
}

/* A stop in which the kernel takes a signal when it is resumed. */
static bool takes_a_signal(const struct tracee *tracee)
{
    return tracee->state == TRACEE_STOPPED &&
           (tracee->stop == STOP_SIGNAL_DELIVERY || tracee->stop == STOP_STEP ||
            tracee->stop == STOP_BREAK || tracee->stop == STOP_HARDWARE) &&
           !has_stepped_into_handler(tracee);
}

/* One session's word on the signal. A signal is delivered unless somebody drops it, and of several
 * replacements the last wins. */
static void judge_signal(struct tracee *tracee, const struct continue_options *o)
{
    if (o->suppress)
        tracee->suppressed = true;
    if (o->signo != 0)
        tracee->resume_signo = (uint8_t)o->signo;
}

static int continue_engine(struct trace *t, struct tracee *tracee, struct engine *e,
                           const struct continue_options *o)
{
    if (!e->held)
        return 0;
    judge_signal(tracee, o);
    e->mode = (uint8_t)o->mode;
    e->range_start = o->range_start;
    e->range_end = o->range_end;
    e->attachment->has_stopped = false;
    engine_let_go(e);
    t->hooks.event_queued(e->attachment->session, t->userdata); /* it may have been dropped */
    resume_settle(t, tracee);
    return 1;
}

static bool takes_control(const struct continue_options *o)
{
    return o->mode != RESUME_RUN || o->signo != 0 || o->suppress;
}

static int continue_thread(struct trace *t, struct session *s, pid_t pid, pid_t tid,
                           const struct continue_options *o)
{
    struct tracee *tracee;
    struct engine *e;
    int r = control_find_engine(t, s, pid, tid, &tracee, &e);

    if (r < 0)
        return r;
    if (e->attachment->observe && takes_control(o))
        return -EACCES;
    if (o->signo != 0 && e->held && !takes_a_signal(tracee))
        return -ENOMSG;
    return continue_engine(t, tracee, e, o);
}

static int continue_process(struct trace *t, struct session *s, pid_t pid,
                            const struct continue_options *o)
{
    struct attachment *a = session_find(s, pid);
    struct tracee *tracee, *next;
    int continued = 0;

    if (o->signo != 0)
        return -ENOMSG;
    if (!a)
        return -EUNATCH;
    if (a->observe && takes_control(o))
        return -EACCES;
    a->has_stopped = false;
    for (tracee = TAILQ_FIRST(&a->process->tracees); tracee; tracee = next) {
        struct engine *e = engine_find(tracee, a);

        next = TAILQ_NEXT(tracee, siblings);
        if (!e)
            continue;
        e->interrupting = false;
        continued |= continue_engine(t, tracee, e, o); /* the last may end the attachment */
    }
    return continued;
}

int trace_continue(struct trace *t, struct session *s, pid_t pid, pid_t tid,
                   const struct continue_options *o)
{
    int r = tid != 0 ? continue_thread(t, s, pid, tid, o) : continue_process(t, s, pid, o);

    stepover_run_later(t);
    return r;
}

/* A process that is ending already takes no SIGKILL (kernel/signal.c:prepare_signal()), so whoever
 * stands in its exit stop has to be let go; from every other stop SIGKILL takes it. */
int trace_kill(struct trace *t, struct session *s, pid_t pid)
{
    struct attachment *a = session_find(s, pid);
    struct tracee *tracee, *next;
    int r;

    if (!a)
        return -EUNATCH;
    if (process_check_grant(a) < 0) /* it is about to be lost */
        return -ESRCH;
    r = pidref_signal(&a->process->pidref, SIGKILL);
    if (r < 0)
        return r;
    for (tracee = TAILQ_FIRST(&a->process->tracees); tracee; tracee = next) {
        next = TAILQ_NEXT(tracee, siblings);
        if (tracee->state != TRACEE_STOPPED || tracee->stop != STOP_EXIT)
            continue;
        engine_drop_holds(tracee);
        resume_settle(t, tracee);
    }
    return 0;
}

/* Those who run in another way than the filter needs are told to stop for a moment; true: some are.
 */
static bool kick_process(struct attachment *a)
{
    struct tracee *tracee;
    bool kicked = false;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        if (!engine_find(tracee, a))
            continue;
        resume_kick(tracee);
        kicked |= tracee->state == TRACEE_STOPPING;
    }
    return kicked;
}

/* A call that one of them is in could go by until it has stopped. */
static void collect_process(struct trace *t, struct process *p)
{
    _cleanup_free_ pid_t *tids = NULL;
    struct batch b;
    size_t n;

    if (batch_list_threads(p, &tids, &n) < 0)
        return; /* they follow by themselves */
    batch_begin(&b, t);
    for (size_t i = 0; i < n; i++)
        batch_collect(&b, tids[i]);
    batch_end(&b);
    stepover_run_later(t);
}

int trace_set_filter(struct trace *t, struct session *s, pid_t pid, struct filter *filter)
{
    struct attachment *a = session_find(s, pid);

    if (!a)
        return -EUNATCH;
    filter_ref(filter);
    filter_unref(a->filter);
    a->filter = filter;
    if (kick_process(a))
        collect_process(t, a->process);
    return 0;
}

int control_get_siginfo(const struct tracee *tracee, siginfo_t *ret)
{
    return takes_a_signal(tracee) ? ptrace_ops_get_siginfo(tracee->tid, ret) : -ENOMSG;
}

int control_set_siginfo(struct trace *t, struct tracee *tracee, const siginfo_t *info)
{
    int r;

    if (!takes_a_signal(tracee))
        return -ENOMSG;
    r = ptrace_ops_set_siginfo(tracee->tid, info);
    if (r < 0)
        return r;
    if (tracee->ledger_slot >= 0)
        ledger_update_signal(t->ledger, tracee->ledger_slot, info);
    if (tracee->resume_signo != 0)
        tracee->resume_signo = (uint8_t)info->si_signo;
    return 0;
}
