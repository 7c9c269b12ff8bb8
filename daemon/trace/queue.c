/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stddef.h>

#include "daemon/trace/queue.h"

void event_queue_init(struct event_queue *q, size_t limit, bool keeping)
{
    *q = (struct event_queue){.limit = limit, .keeping = keeping};
    TAILQ_INIT(&q->events);
}

static void remove_event(struct event_queue *q, struct event *e)
{
    if (q->next_unsent == e)
        q->next_unsent = TAILQ_NEXT(e, queue);
    TAILQ_REMOVE(&q->events, e, queue);
    e->unsent = e->untaken = false;
    q->n_events--;
    quota_give(q->quota, QUOTA_EVENTS);
    event_unref(e);
}

void event_queue_done(struct event_queue *q)
{
    while (!TAILQ_EMPTY(&q->events))
        remove_event(q, TAILQ_FIRST(&q->events));
}

/* And takes it. */
static bool has_room(struct event_queue *q, const struct event *e)
{
    if (!e->stopped)
        return q->n_events < q->limit && quota_take(q->quota, QUOTA_EVENTS);
    quota_add(q->quota, QUOTA_EVENTS);
    return true;
}

bool event_queue_push(struct event_queue *q, struct event *e)
{
    if (!event_queue_is_wanted(q))
        return false;
    if (!has_room(q, e)) {
        q->lost++;
        return false;
    }
    e->unsent = q->streaming;
    e->untaken = q->keeping;
    event_ref(e); /* not inside the macro, which evaluates its arguments many times */
    TAILQ_INSERT_TAIL(&q->events, e, queue);
    q->n_events++;
    q->pushed++;
    if (!q->next_unsent && e->unsent)
        q->next_unsent = e;
    return true;
}

/* Nothing is left to do with it. */
static void settle(struct event_queue *q, struct event *e)
{
    if (!e->unsent && !e->untaken)
        remove_event(q, e);
}

void event_queue_set_streaming(struct event_queue *q, bool on)
{
    struct event *e, *next;

    if (q->streaming == on)
        return;
    q->streaming = on;
    q->next_unsent = NULL;
    for (e = TAILQ_FIRST(&q->events); e; e = next) {
        next = TAILQ_NEXT(e, queue);
        e->unsent = false;
        settle(q, e);
    }
}

struct event *event_queue_next_unsent(const struct event_queue *q)
{
    return q->next_unsent;
}

void event_queue_mark_sent(struct event_queue *q, struct event *e)
{
    e->unsent = false;
    q->next_unsent = TAILQ_NEXT(e, queue);
    settle(q, e);
}

struct event *event_queue_find(const struct event_queue *q, pid_t pid, pid_t tid)
{
    struct event *e;

    TAILQ_FOREACH(e, &q->events, queue)
        if (e->untaken && (pid == 0 || e->pid == pid) && (tid == 0 || e->tid == tid))
            return e;
    return NULL;
}

void event_queue_mark_taken(struct event_queue *q, struct event *e)
{
    e->untaken = false;
    settle(q, e);
}

void event_queue_release(struct event_queue *q, struct event *e)
{
    if (q->n_events <= q->limit || (!e->unsent && !e->untaken))
        return;
    q->lost++;
    remove_event(q, e);
}

void event_queue_drop_process(struct event_queue *q, pid_t pid)
{
    struct event *e, *next;

    for (e = TAILQ_FIRST(&q->events); e; e = next) {
        next = TAILQ_NEXT(e, queue);
        if (e->pid == pid)
            remove_event(q, e);
    }
}
