/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bus-api/event.h"
#include "daemon/broker/list.h"

struct caller;
struct session;
struct tracer;

/* GetEvent.
 *
 * A session's events wait in the queues of its tracers. While somebody waits for an event of any
 * thread, one TakeEvent is under way to each tracer whose queue is not known to be empty ("dry"),
 * so that a tracer that is held up holds up its own events only. What comes goes to the oldest
 * waiter that wants it, and else into the session's stash, which the next GetEvent looks at first:
 * an event that has left its queue is never lost. TakeEvent therefore has no time-out; whoever
 * waits has one. The stash holds one event for each tracer at the most, and those that the broker
 * makes itself, up to a queue's worth.
 *
 * A wait for one thread's event asks for just that, at the tracer that holds the process; where it
 * is not attached any more its last events are, so every tracer of the session is asked. */

struct waiter {
    struct list of_session; /* the oldest first */
    struct list of_caller;
    struct session *session;
    sd_bus_message *call;
    pid_t pid; /* 0: of any process */
    pid_t tid; /* 0: of any thread */
    bool never_blocks;
    sd_event_source *timer;
    struct list asks;     /* TakeEvents for this waiter alone that are under way */
    bool thread_is_known; /* a tracer has said so by having no event of it */
    sd_bus_error refusal; /* what a tracer has said else */
};

/* Answers GetEvent, now or later. `error` is for what is wrong with the call. */
int events_get(struct session *s, struct caller *c, sd_bus_message *call, pid_t pid, pid_t tid,
               uint64_t timeout_usec, sd_bus_error *error);

/* Frees it without an answer. */
void waiter_free(struct waiter *w);

/* A tracer has events of the session again. */
void events_ready(struct session *s, struct tracer *t);

/* A tracer has taken up the session, or has ended. */
void events_share_changed(struct session *s);

/* A process has left the session; what waits for one of its threads has to ask anew. */
void events_process_removed(struct session *s, pid_t pid);

/* Delivers an event that no tracer made, and takes what the record owns. */
void events_post(struct session *s, struct ptraced_event_record *e);

/* The client has given up a process: what was not taken of it is dropped. */
void events_forget(struct session *s, pid_t pid);

/* A caller may not have the session's events any more: its calls that wait are refused. */
void events_refuse(struct session *s, const struct caller *c);

/* Answers all who wait, and drops the stash. */
void events_close(struct session *s);
