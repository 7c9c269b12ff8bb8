/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

static int fail_none_left(ptraced_session *s)
{
    if (s->has_ended)
        return connection_fail(s->connection, -ENXIO, "Session %s has ended.", s->id);
    return connection_fail(s->connection, -ECONNRESET,
                           "The connection to the tracing service has ended.");
}

static uint64_t deadline(uint64_t timeout_usec)
{
    if (timeout_usec == 0 || timeout_usec == USEC_INFINITY)
        return timeout_usec;
    return usec_add(now_usec(), timeout_usec);
}

_public_ int ptraced_session_get_event(ptraced_session *s, uint64_t timeout_usec,
                                       ptraced_event **ret)
{
    ptraced *p = s->connection;
    uint64_t until;
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    until = deadline(timeout_usec);
    for (bool expired = false;;) {
        ptraced_event *e = session_pop(s);

        if (e) {
            *ret = e;
            return 0;
        }
        if (s->has_ended)
            return fail_none_left(s);
        if (expired)
            return -EAGAIN;
        r = connection_dispatch(p);
        if (r == -ECONNRESET)
            return fail_none_left(s);
        if (r < 0)
            return connection_fail(p, r, "Failed to read events: %s", strerror(-r));
        if (r == 0 && until == 0)
            return -EAGAIN;
        /* Looked at after a message too: they may all be for other sessions. */
        expired = until != 0 && until != USEC_INFINITY && now_usec() >= until;
        if (r > 0 || expired)
            continue;
        r = connection_wait(p, until);
        if (r == -EINTR)
            return r;
        if (r < 0)
            return connection_fail(p, r, "Failed to wait for events: %s", strerror(-r));
    }
}

static void free_events(ptraced_event **events, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ptraced_event_unref(events[i]);
    free(events);
}

static int read_events(sd_bus_message *m, ptraced_event ***ret)
{
    ptraced_event **events = NULL, *e;
    size_t n = 0, room = 0;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
    if (r < 0)
        return r;
    while ((r = event_read(m, &e)) > 0) {
        if (n == room) {
            ptraced_event **grown;

            room = room ? room * 2 : 16;
            grown = reallocarray(events, room, sizeof(*events));
            if (!grown) {
                ptraced_event_unref(e);
                r = -ENOMEM;
                break;
            }
            events = grown;
        }
        events[n++] = e;
    }
    if (r < 0) {
        free_events(events, n);
        return r;
    }
    *ret = events;
    return (int)n;
}

_public_ int ptraced_session_list_stopped(ptraced_session *s, ptraced_event ***ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    char path[PTRACED_PATH_MAX];
    int r;

    r = connection_call(s->connection, ptraced_path_session(path, s->id), PTRACED_SESSION_INTERFACE,
                        "ListStopped", &reply, "");
    if (r < 0)
        return r;
    r = read_events(reply, ret);
    if (r < 0)
        return connection_fail(s->connection, r, "Failed to read the list of stopped threads: %s",
                               strerror(-r));
    return r;
}
