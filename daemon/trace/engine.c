/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/engine.h"
#include "daemon/trace/trace.h"

struct session *session_new(struct trace *t, size_t queue_limit, bool keeping, void *userdata)
{
    struct session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    event_queue_init(&s->queue, queue_limit, keeping);
    TAILQ_INIT(&s->attachments);
    s->userdata = userdata;
    TAILQ_INSERT_TAIL(&t->sessions, s, sessions);
    return s;
}

struct session *session_free(struct trace *t, struct session *s)
{
    if (!s)
        return NULL;
    TAILQ_REMOVE(&t->sessions, s, sessions);
    event_queue_done(&s->queue);
    quota_unref(s->quota);
    free(s);
    return NULL;
}

void session_set_quota(struct session *s, struct quota_user *quota)
{
    s->quota = s->queue.quota = quota_ref(quota);
}

struct attachment *session_find(const struct session *s, pid_t pid)
{
    struct attachment *a;

    TAILQ_FOREACH(a, &s->attachments, by_session)
        if (a->process->pidref.pid == pid)
            return a;
    return NULL;
}

struct engine *engine_find(const struct tracee *t, const struct attachment *a)
{
    struct engine *e;

    for (e = t->engines; e; e = e->next)
        if (e->attachment == a)
            return e;
    return NULL;
}

int engine_add(struct tracee *t, struct attachment *a)
{
    struct engine *e;

    if (!quota_take(a->session->quota, QUOTA_THREADS))
        return -EDQUOT;
    e = calloc(1, sizeof(*e));
    if (!e) {
        quota_give(a->session->quota, QUOTA_THREADS);
        return -ENOMEM;
    }
    e->attachment = a;
    e->mode = RESUME_RUN;
    a->n_engines++;
    engine_put(t, e);
    return 0;
}

void engine_put(struct tracee *t, struct engine *e)
{
    e->next = t->engines;
    t->engines = e;
}

struct engine *engine_take(struct tracee *t, const struct attachment *a)
{
    for (struct engine **p = &t->engines; *p; p = &(*p)->next) {
        struct engine *e = *p;

        if (e->attachment != a)
            continue;
        *p = e->next;
        return e;
    }
    return NULL;
}

void engine_let_go(struct engine *e)
{
    if (e->held) {
        event_queue_release(&e->attachment->session->queue, e->held);
        observe_lets_go(e->attachment);
    }
    e->held = event_unref(e->held);
}

void engine_free(struct engine *e)
{
    e->attachment->n_engines--;
    quota_give(e->attachment->session->quota, QUOTA_THREADS);
    engine_let_go(e);
    free(e);
}

void engine_remove(struct tracee *t, const struct attachment *a)
{
    struct engine *e = engine_take(t, a);

    if (e)
        engine_free(e);
}

void engine_remove_all(struct tracee *t)
{
    while (t->engines) {
        struct engine *e = t->engines;

        t->engines = e->next;
        engine_free(e);
    }
}

bool engine_is_any_holding(const struct tracee *t)
{
    for (const struct engine *e = t->engines; e; e = e->next)
        if (e->held)
            return true;
    return false;
}

void engine_drop_holds(struct tracee *t)
{
    for (struct engine *e = t->engines; e; e = e->next)
        engine_let_go(e);
}

void engine_drop_interrupts(struct tracee *t)
{
    for (struct engine *e = t->engines; e; e = e->next)
        e->interrupting = false;
}

/* Gives the event its serial and puts it into the session's queue. */
static struct event *queue_event(struct trace *trace, struct attachment *a, struct event *e)
{
    struct event *event;

    e->pid = a->process->pidref.pid;
    e->serial = ++a->serial;
    if (e->usec == 0)
        e->usec = event_now_usec();
    event = event_new(e);
    if (!event) {
        a->session->queue.lost++;
        return NULL;
    }
    if (event_queue_is_wanted(&a->session->queue)) {
        event_queue_push(&a->session->queue, event);
        trace->hooks.event_queued(a->session, trace->userdata);
    }
    return event;
}

void attachment_tell(struct trace *trace, struct attachment *a, struct event *e)
{
    e->stopped = false;
    event_unref(queue_event(trace, a, e));
}

void engine_tell(struct trace *trace, struct tracee *t, struct engine *engine, struct event *e,
                 bool hold)
{
    bool stops = hold && observe_may_hold(engine->attachment);
    struct event *event;

    e->tid = t->tid;
    e->stopped = stops;
    event = queue_event(trace, engine->attachment, e);
    if (hold && event)
        engine->interrupting = false;
    if (stops && event) {
        if (!engine->held)
            observe_holds(engine->attachment);
        event_unref(engine->held);
        engine->held = event_ref(event);
        if (engine->attachment->observe)
            trace->observers_hold = true;
        engine->mode = RESUME_RUN;
        if (engine->attachment->all_stop && !engine->attachment->has_stopped)
            trace->gather = true;
    }
    event_unref(event);
}

void engine_judge(struct trace *trace, struct tracee *t, struct engine *engine, struct event *e,
                  bool hold)
{
    const struct attachment *a = engine->attachment;
    enum filter_verdict verdict = filter_judge(a->filter, e, t->tid == a->process->pidref.pid);

    if (verdict != FILTER_DROP)
        engine_tell(trace, t, engine, e, (hold || verdict == FILTER_HOLD) && !renew_is_awaited(a));
}

void engine_report(struct trace *trace, struct tracee *t, struct event *e)
{
    for (struct engine *engine = t->engines; engine; engine = engine->next) {
        if (e->kind != EVENT_STOP)
            engine_judge(trace, t, engine, e, false);
        else if (engine->interrupting)
            engine_tell(trace, t, engine, e, true);
    }
}
