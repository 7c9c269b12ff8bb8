/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/trace/batch.h"
#include "daemon/trace/chaperone.h"
#include "daemon/trace/control.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/stepover.h"
#include "daemon/trace/trace.h"

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
    stepover_run_later(t);
    if (t->chaperones_due)
        chaperone_release_all(t);
}

static int detach_thread(struct trace *t, struct session *s, pid_t pid, pid_t tid)
{
    struct event e = {.kind = EVENT_LOST, .tid = tid, .lost.reason = LOST_DETACHED};
    struct attachment *a;
    struct tracee *tracee;
    struct engine *engine;
    int r = control_find_engine(t, s, pid, tid, &tracee, &engine);

    if (r < 0)
        return r;
    a = engine->attachment;
    attachment_tell(t, a, &e);
    engine_remove(tracee, a);
    process_drop_empty(t, tracee->process, REMOVED_DETACHED);
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
    process_detach(t, a, REMOVED_DETACHED);
    let_go(t, pid);
    return 1;
}

int trace_lose(struct trace *t, struct session *s, pid_t pid, enum lost_reason why)
{
    struct event e = {.kind = EVENT_LOST, .tid = pid, .lost = {.reason = why, .process = true}};
    struct attachment *a = session_find(s, pid);

    if (!a)
        return -EUNATCH;
    attachment_tell(t, a, &e);
    process_detach(t, a, why == LOST_LIMIT ? REMOVED_LIMIT : REMOVED_PRIVILEGE);
    let_go(t, pid);
    return 0;
}

void trace_detach_session(struct trace *t, struct session *s)
{
    while (!TAILQ_EMPTY(&s->attachments)) {
        struct attachment *a = TAILQ_FIRST(&s->attachments);
        pid_t pid = a->process->pidref.pid;

        event_queue_drop_process(&s->queue, pid);
        process_detach(t, a, REMOVED_DETACHED);
        let_go(t, pid);
    }
}
