/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bus-api/event.h"
#include "daemon/broker/list.h"

struct broker;
struct session;
struct share;

/* Events as they come: the tracers' Events become ThreadEvent for each subscriber.
 *
 * A tracer sends a window of events at the most, and more when it is told (Credit) how many have
 * been passed on. They are passed on in turns of bounded length, so that calls come through a
 * flood, and none are while the client's own connection has too much unsent: its slowness then
 * reaches the tracer's queue, where it belongs. */
struct stream {
    struct broker *broker;
    struct list shares;     /* that have something to pass on, the next one first */
    sd_event_source *turn;  /* enabled while there is something to do */
    sd_event_source *drain; /* enabled while we are held up */
};

int stream_init(struct stream *st, struct broker *b);
void stream_done(struct stream *st);

/* Queues the events of a message, which stands before their array. */
int stream_add(struct stream *st, struct share *share, sd_bus_message *m);

/* Passes on at once what is queued: the share is about to go. */
void stream_flush(struct share *share);

/* Drops what is queued. */
void stream_drop(struct share *share);

/* Sends an event that no tracer made. */
void stream_post(struct session *s, const struct ptraced_event_record *e);
