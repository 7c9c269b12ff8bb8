/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include <systemd/sd-bus.h>

#include "bus-api/event.h"
#include "daemon/broker/list.h"

struct session;
struct share;

/* Events of a session that have come to the broker and are yet to be passed on to its subscribers,
 * in the order in which they came. Each tracer has a window's worth here at the most, since it is
 * given credit when they leave. What a tracer has sent stays when it goes; there is room for a
 * queue's worth of that, and the rest is counted as lost. */
struct line {
    struct list batches;
    unsigned n_orphans; /* events whose tracer has gone */
};

void line_init(struct line *line);
void line_done(struct line *line);

static inline bool line_is_empty(const struct line *line)
{
    return list_empty(&line->batches);
}

/* Queues the events of a message, which stands before their array. `share` NULL: it has one, which
 * no tracer made. */
int line_add(struct session *s, struct share *share, sd_bus_message *m);

/* Queues an event that no tracer made, if there are subscribers. */
int line_post(struct session *s, const struct ptraced_event_record *e);

/* Forgets what nobody subscribes to any more: whoever does later begins with what comes then. */
void line_drop(struct session *s);

/* The tracer of these events is about to go. Doing it again changes nothing. */
void line_share_gone(struct share *share);

/* Sends the next event to all subscribers: false where there is none. */
bool line_pass_on(struct session *s);
