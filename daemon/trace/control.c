/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/trace/batch.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/trace.h"

static int find_engine(struct trace *t, struct session *s, pid_t pid, pid_t tid,
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

/* Makes one session hold one thread. 1: held or on its way; 0: it was held already. */
static int interrupt_engine(struct trace *t, struct tracee *tracee, struct engine *e)
{
    struct event event = {.kind = EVENT_STOP};

    if (e->held)
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

    if (tid == 0)
        return interrupt_process(t, s, pid);
    r = find_engine(t, s, pid, tid, &tracee, &e);
    return r < 0 ? r : interrupt_engine(t, tracee, e);
}

static int continue_engine(struct trace *t, struct tracee *tracee, struct engine *e)
{
    if (!e->held)
        return 0;
    engine_let_go(e);
    t->hooks.event_queued(e->attachment->session, t->userdata); /* it may have been dropped */
    resume_settle(t, tracee);
    return 1;
}

int trace_continue(struct trace *t, struct session *s, pid_t pid, pid_t tid)
{
    struct attachment *a = session_find(s, pid);
    struct tracee *tracee, *next;
    struct engine *e;
    int r, continued = 0;

    if (tid != 0) {
        r = find_engine(t, s, pid, tid, &tracee, &e);
        return r < 0 ? r : continue_engine(t, tracee, e);
    }
    if (!a)
        return -EUNATCH;
    for (tracee = TAILQ_FIRST(&a->process->tracees); tracee; tracee = next) {
        next = TAILQ_NEXT(tracee, siblings);
        e = engine_find(tracee, a);
        if (!e)
            continue;
        e->interrupting = false;
        continued |= continue_engine(t, tracee, e);
    }
    return continued;
}

int trace_set_filter(struct session *s, pid_t pid, uint32_t report, uint32_t stops)
{
    struct attachment *a = session_find(s, pid);

    if (!a)
        return -EUNATCH;
    a->report = report;
    a->stops = stops;
    return 0;
}

static bool any_is_leaving(const struct process *p)
{
    const struct tracee *tracee;

    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        if (batch_is_leaving(tracee))
            return true;
    return false;
}

static int let_go_round(struct batch *b, const struct process *p)
{
    struct trace *t = b->trace;
    _cleanup_free_ pid_t *tids = NULL;
    size_t n;
    int r;

    r = batch_list_threads(p, &tids, &n);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        struct tracee *tracee = tidmap_get(&t->tids, tids[i]);

        if (tracee && tracee->engines)
            resume_settle(t, tracee);
        else if (tracee)
            resume_release(t, tracee);
    }
    for (size_t i = 0; i < n; i++)
        batch_collect(b, tids[i]);
    return 0;
}

/* Lets go of the threads that have no engine left, and resumes those that only this session held.
 * A creator that was let go in its clone event brings a new thread with it, hence the rounds. */
static void let_go(struct trace *t, pid_t pid)
{
    struct process *p = process_find(t, pid);
    struct batch b;
    int r = 0;

    if (!p)
        return;
    batch_begin(&b, t);
    do {
        r = let_go_round(&b, p);
        p = process_find(t, pid);
    } while (r >= 0 && p && any_is_leaving(p) && b.n_late < BATCH_LATE_MAX);
    batch_end(&b);
}

static int detach_thread(struct trace *t, struct session *s, pid_t pid, pid_t tid)
{
    struct event e = {.kind = EVENT_LOST, .tid = tid, .lost.reason = LOST_DETACHED};
    struct attachment *a;
    struct tracee *tracee;
    struct engine *engine;
    int r = find_engine(t, s, pid, tid, &tracee, &engine);

    if (r < 0)
        return r;
    a = engine->attachment;
    attachment_tell(t, a, &e);
    engine_remove(tracee, a);
    process_drop_empty(t, tracee->process);
    if (tracee->engines) {
        resume_settle(t, tracee);
        return 1;
    }
    resume_release(t, tracee);
    if (tidmap_get(&t->tids, tid)) {
        struct batch b;

        batch_begin(&b, t);
        batch_collect(&b, tid);
        batch_end(&b);
    }
    return 1;
}

int trace_detach(struct trace *t, struct session *s, pid_t pid, pid_t tid)
{
    struct event e = {
        .kind = EVENT_LOST, .tid = pid, .lost = {.reason = LOST_DETACHED, .process = true}};
    struct attachment *a = session_find(s, pid);

    if (tid != 0)
        return detach_thread(t, s, pid, tid);
    if (!a)
        return -EUNATCH;
    /* What nobody has taken speaks of a process that its session has given up. */
    event_queue_drop_process(&s->queue, pid);
    attachment_tell(t, a, &e);
    process_detach(t, a);
    let_go(t, pid);
    return 1;
}

void trace_detach_session(struct trace *t, struct session *s)
{
    while (!TAILQ_EMPTY(&s->attachments)) {
        struct attachment *a = TAILQ_FIRST(&s->attachments);
        pid_t pid = a->process->pidref.pid;

        event_queue_drop_process(&s->queue, pid);
        process_detach(t, a);
        let_go(t, pid);
    }
}
