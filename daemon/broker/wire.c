/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/macro.h"
#include "daemon/broker/wire.h"

#define LOCAL_NAME "org.freedesktop.DBus.Local"
#define LOCAL_PATH "/org/freedesktop/DBus/Local"

struct wire_call {
    struct list calls;
    struct wire *wire;
    uint64_t number;
    sd_bus_slot *slot;
    sd_bus_message *held; /* waits until the connection is ready */
    uint64_t timeout_usec;
    pid_t about;
    wire_reply_t callback;
    void *userdata;
};

static struct wire_call *call_free(struct wire_call *c)
{
    if (!c)
        return NULL;
    list_remove(&c->calls);
    sd_bus_slot_unref(c->slot);
    sd_bus_message_unref(c->held);
    free(c);
    return NULL;
}

static void call_freep(struct wire_call **c)
{
    call_free(*c);
}

/* Nothing may touch the wire after this: its last answer may end it. */
static void call_finish(struct wire_call *c, sd_bus_message *reply, const sd_bus_error *error)
{
    struct wire *w = c->wire;

    list_remove(&c->calls);
    c->callback(reply, error, c->userdata);
    call_free(c);
    if (--w->n_calls == 0 && w->bus)
        w->ops->settled(w);
}

static void call_fail(struct wire_call *c, bool timed_out)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    c->wire->ops->no_answer(c->wire, timed_out, c->about, &error);
    call_finish(c, NULL, &error);
}

/* sd-bus itself makes the answer for a call that timed out or whose connection has ended. On a
 * private connection nothing else has a sender. */
static bool is_synthetic(sd_bus_message *m)
{
    return sd_bus_message_get_sender(m);
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct wire_call *c = userdata;
    bool is_error = sd_bus_message_is_method_error(m, NULL);

    if (is_error && is_synthetic(m)) {
        call_fail(c, sd_bus_is_open(c->wire->bus) > 0);
        return 1;
    }
    if (c->wire->ops->answered)
        c->wire->ops->answered(c->wire, c->number);
    call_finish(c, is_error ? NULL : m, sd_bus_message_get_error(m));
    return 1;
}

static int call_send(struct wire_call *c, sd_bus_message *m)
{
    c->slot = sd_bus_slot_unref(c->slot);
    return sd_bus_call_async(c->wire->bus, &c->slot, m, on_reply, c, c->timeout_usec);
}

static int on_ready(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct wire_call *c = userdata;
    _cleanup_bus_message_ sd_bus_message *held = TAKE_PTR(c->held);

    /* An error from the other side is a sign of life too. */
    if (sd_bus_message_is_method_error(m, NULL) && is_synthetic(m))
        call_fail(c, sd_bus_is_open(c->wire->bus) > 0);
    else if (call_send(c, held) < 0)
        call_fail(c, false);
    return 1;
}

static int call_hold(struct wire_call *c, sd_bus_message *m)
{
    _cleanup_bus_message_ sd_bus_message *ping = NULL;
    int r;

    r = sd_bus_message_new_method_call(c->wire->bus, &ping, NULL, "/", "org.freedesktop.DBus.Peer",
                                       "Ping");
    if (r < 0)
        return r;
    r = sd_bus_call_async(c->wire->bus, &c->slot, ping, on_ready, c, c->timeout_usec);
    if (r < 0)
        return r;
    c->held = sd_bus_message_ref(m);
    return 0;
}

bool wire_is_ready(const struct wire *w)
{
    return w->bus && sd_bus_is_ready(w->bus) > 0;
}

int wire_call(struct wire *w, sd_bus_message *m, uint64_t timeout_usec, pid_t about,
              wire_reply_t callback, void *userdata)
{
    _cleanup_(call_freep) struct wire_call *c = NULL;
    int r;

    if (!w->bus)
        return -ENOTCONN;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    *c = (struct wire_call){
        .wire = w,
        .number = w->n_sent++,
        .timeout_usec = timeout_usec,
        .about = about,
        .callback = callback,
        .userdata = userdata,
    };

    if (!wire_is_ready(w) && strchr(sd_bus_message_get_signature(m, true), SD_BUS_TYPE_UNIX_FD))
        r = call_hold(c, m);
    else
        r = call_send(c, m);
    /* sd-bus says this where the write has failed, before it tells that the connection has ended.
     */
    if (r == -ECONNRESET || r == -EPIPE)
        return -ENOTCONN;
    if (r < 0)
        return r;

    list_append(&w->calls, &c->calls);
    w->n_calls++;
    TAKE_PTR(c);
    return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct wire *w = userdata;

    w->ops->gone(w);
    return 1;
}

int wire_open(struct wire *w, sd_event *event, int fd, const struct wire_ops *ops)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    _cleanup_close_fd_ int taken = fd;
    int r;

    if (w->closing)
        return -ENOTCONN;
    r = sd_bus_new(&bus);
    if (r < 0)
        return r;
    r = sd_bus_set_fd(bus, taken, taken);
    if (r < 0)
        return r;
    TAKE_FD(taken);
    r = sd_bus_negotiate_fds(bus, true);
    if (r < 0)
        return r;
    /* Else sd-event, at our end, would wait until the other side has read everything: a tracer that
     * is held up never does, nor a keeper that is only started when we have ended. */
    r = sd_bus_set_close_on_exit(bus, false);
    if (r < 0)
        return r;
    r = sd_bus_start(bus);
    if (r < 0)
        return r;
    r = sd_bus_match_signal(bus, NULL, LOCAL_NAME, LOCAL_PATH, LOCAL_NAME, "Disconnected",
                            on_disconnected, w);
    if (r < 0)
        return r;
    r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
    if (r < 0)
        return r;

    *w = (struct wire){.bus = TAKE_PTR(bus), .ops = ops};
    list_init(&w->calls);
    return 0;
}

void wire_close(struct wire *w)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    struct wire_call *c;

    if (!w->bus)
        return;
    /* Without a bus, no callback can send another call or have the wire settled. */
    bus = TAKE_PTR(w->bus);
    w->closing = true;
    while ((c = LIST_FIRST(&w->calls, struct wire_call, calls)))
        call_fail(c, false);
    w->closing = false;
}
