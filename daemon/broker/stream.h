/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "daemon/broker/list.h"

struct broker;
struct session;

/* Events as they come: the tracers' Events become ThreadEvent for each subscriber.
 *
 * A tracer sends a window of events at the most, and more when it is told (Credit) how many have
 * been passed on. They are passed on in turns of bounded length, so that calls come through a
 * flood. None of a session are while one of its subscribers is behind (flow.h), and none at all
 * while our own connection to the bus, or to the one client, has too much unsent: slowness then
 * reaches the tracer's queue, where it belongs. */
struct stream {
    struct broker *broker;
    struct list sessions;   /* that have something to pass on and may, the next one first */
    sd_event_source *turn;  /* enabled while there is something to do */
    sd_event_source *drain; /* enabled while we are held up */
};

int stream_init(struct stream *st, struct broker *b);
void stream_done(struct stream *st);

/* Passes on what the session has, if nothing holds it up (any more). */
void stream_go_on(struct stream *st, struct session *s);
