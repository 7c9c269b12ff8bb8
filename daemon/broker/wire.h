/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/broker/list.h"

/* A private D-Bus connection of which the broker is the client, to the keeper or to a tracer. All
 * calls are asynchronous. Each is answered exactly once, by the other side, by a time-out, or
 * because the connection has ended; never before wire_call() has returned. */

struct wire;

struct wire_ops {
    /* Writes the error for a call that got no answer, `about` as given to wire_call(). */
    void (*no_answer)(struct wire *w, bool timed_out, pid_t about, sd_bus_error *error);
    /* The other side has answered the call of that number; before the callback. May be NULL. */
    void (*answered)(struct wire *w, uint64_t number);
    /* The last call under way has been answered. May end the wire. */
    void (*settled)(struct wire *w);
    /* The other side has closed. May end the wire. */
    void (*gone)(struct wire *w);
};

struct wire {
    sd_bus *bus;
    const struct wire_ops *ops;
    struct list calls;
    uint64_t n_sent;  /* the number of the next call */
    unsigned n_calls; /* counts a call until its callback has returned */
    bool closing;     /* callbacks are told so; none may open it again */
};

/* Exactly one of reply and error is given. */
typedef void (*wire_reply_t)(sd_bus_message *reply, const sd_bus_error *error, void *userdata);

#define WIRE_NO_TIMEOUT UINT64_MAX

/* Connects over a stream socket; takes the descriptor in any case. */
int wire_open(struct wire *w, sd_event *event, int fd, const struct wire_ops *ops);

/* Closes. Calls that are under way are answered as by an end of the connection. Accepts one that is
 * all zero. */
void wire_close(struct wire *w);

/* Whether the other side has answered at all. */
bool wire_is_ready(const struct wire *w);

/* Sends a method call; -ENOTCONN where the other side has closed, or is just closing. Where it
 * carries descriptors and the connection is still being made, it is held back until the two sides
 * have agreed about descriptors: sd-bus would block. */
int wire_call(struct wire *w, sd_bus_message *m, uint64_t timeout_usec, pid_t about,
              wire_reply_t callback, void *userdata);
