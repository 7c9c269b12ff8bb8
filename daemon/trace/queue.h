/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/trace/event.h"
#include "daemon/trace/quota.h"

/* A session's events on their way out. An event leaves the queue when it has been streamed (where a
 * subscriber listens) and taken (where the session keeps events for GetEvent).
 *
 * Bounded: past `limit`, or what its user may have, an event that stops nothing is counted as lost.
 * One that stops is always taken in: there is at most one for each held thread, so the threads
 * bound them. */
struct event_queue {
    TAILQ_HEAD(event_list, event) events;
    struct event *next_unsent; /* where streaming goes on */
    size_t n_events;
    size_t limit;
    struct quota_user *quota; /* whose events these are; borrowed; NULL: nobody counts them */
    uint64_t lost;
    uint64_t pushed; /* events that were ever taken in: tells whether something is new */
    bool streaming;
    bool keeping; /* for GetEvent */
};

void event_queue_init(struct event_queue *q, size_t limit, bool keeping);
void event_queue_done(struct event_queue *q);

/* Takes in an event (a reference of its own). Returns false where nobody wants it or there is no
 * room; the latter is counted. */
bool event_queue_push(struct event_queue *q, struct event *e);

/* Streaming on or off. What came before it was switched on is not streamed. */
void event_queue_set_streaming(struct event_queue *q, bool on);

/* The next event to stream, or NULL; and that it has been streamed. */
struct event *event_queue_next_unsent(const struct event_queue *q);
void event_queue_mark_sent(struct event_queue *q, struct event *e);

/* The oldest kept event of a process (0: any) and thread (0: any), or NULL; and that it has been
 * taken. */
struct event *event_queue_find(const struct event_queue *q, pid_t pid, pid_t tid);
void event_queue_mark_taken(struct event_queue *q, struct event *e);

/* The thread no longer stands for an event that stopped it: it has lost its privilege, and goes
 * where there is no room. */
void event_queue_release(struct event_queue *q, struct event *e);

/* Forgets the events of a process whose session gave it up itself. */
void event_queue_drop_process(struct event_queue *q, pid_t pid);

/* Whether anybody streams or keeps events. */
static inline bool event_queue_is_wanted(const struct event_queue *q)
{
    return q->streaming || q->keeping;
}

static inline bool event_queue_is_empty(const struct event_queue *q)
{
    return q->n_events == 0;
}
