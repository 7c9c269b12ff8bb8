/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

/* What the service sends by itself: events, the end of a session, and, on a bus, its own coming
 * and going.
 *
 * On a bus anybody may send us a signal directly, and sd-bus matches a well-known sender name
 * against any unique name. So the sender of each is compared here: with the unique name that the
 * service answered from, which the bus vouches for, and with the bus's own name, which nobody else
 * can have. */

#define DRIVER_NAME "org.freedesktop.DBus"

static bool is_from(sd_bus_message *m, const char *name)
{
    const char *sender = sd_bus_message_get_sender(m);

    return sender && name && strcmp(sender, name) == 0;
}

static bool is_from_service(ptraced *p, sd_bus_message *m)
{
    return !p->on_bus || is_from(m, p->owner);
}

void connection_learn_owner(ptraced *p, sd_bus_message *reply)
{
    const char *sender = sd_bus_message_get_sender(reply);

    if (p->on_bus && !p->owner && sender && sender[0] == ':')
        p->owner = strdup(sender);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    ptraced *p = userdata;
    struct ptraced_path path;
    ptraced_session *s;
    ptraced_event *e;

    if (sd_bus_message_is_signal(m, PTRACED_SESSION_INTERFACE, "ThreadEvent") <= 0 ||
        !is_from_service(p, m))
        return 0;
    if (ptraced_path_parse(sd_bus_message_get_path(m), &path) != PTRACED_PATH_SESSION)
        return 1;
    s = session_find(p, path.session);
    if (!s || !s->is_subscribed)
        return 1;
    if (event_read(m, &e) > 0)
        session_push(s, e);
    else
        s->n_dropped++;
    return 1;
}

static int on_session_removed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    ptraced *p = userdata;
    ptraced_session *s;
    const char *id;

    if (!is_from_service(p, m) || sd_bus_message_read(m, "s", &id) <= 0)
        return 0;
    s = session_find(p, id);
    if (s)
        session_end(s);
    return 0;
}

static int on_resubscribed(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    ptraced_session *s = userdata;

    s->resubscribe = sd_bus_slot_unref(s->resubscribe);
    /* Whatever the reason is, no event comes any more. */
    if (sd_bus_message_is_method_error(reply, NULL))
        session_end(s);
    return 0;
}

/* A service that was restarted finds its sessions again, but not who listens to them. */
static void resubscribe(ptraced_session *s)
{
    char path[PTRACED_PATH_MAX];

    if (!s->is_subscribed || s->has_ended)
        return;
    s->resubscribe = sd_bus_slot_unref(s->resubscribe);
    if (sd_bus_call_method_async(s->connection->bus, &s->resubscribe, PTRACED_BUS_NAME,
                                 ptraced_path_session(path, s->id), PTRACED_SESSION_INTERFACE,
                                 "Subscribe", on_resubscribed, s, "") < 0)
        session_end(s);
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    ptraced *p = userdata;
    const char *name, *old, *new;

    if (!is_from(m, DRIVER_NAME) || sd_bus_message_read(m, "sss", &name, &old, &new) <= 0 ||
        strcmp(name, PTRACED_BUS_NAME) != 0)
        return 0;

    free(p->owner);
    p->owner = *new ? strdup(new) : NULL;
    if (!*new) {
        p->absent_until = usec_add(now_usec(), SERVICE_ABSENT_USEC);
        return 0;
    }
    p->absent_until = USEC_INFINITY;
    for (ptraced_session *s = p->sessions, *next; s; s = next) {
        next = s->next;
        resubscribe(s);
    }
    return 0;
}

int connection_watch_signals(ptraced *p)
{
    int r;

    r = sd_bus_add_filter(p->bus, NULL, on_message, p);
    if (r < 0)
        return r;
    if (!p->on_bus)
        return sd_bus_add_match(p->bus, NULL,
                                "type='signal',interface='" PTRACED_MANAGER_INTERFACE
                                "',member='SessionRemoved'",
                                on_session_removed, p);

    /* Not waited for: the bus keeps the order, so they are in place before any request is. */
    r = sd_bus_add_match_async(p->bus, NULL,
                               "type='signal',sender='" PTRACED_BUS_NAME
                               "',interface='" PTRACED_MANAGER_INTERFACE
                               "',member='SessionRemoved'",
                               on_session_removed, NULL, p);
    if (r < 0)
        return r;
    return sd_bus_add_match_async(p->bus, NULL,
                                  "type='signal',sender='" DRIVER_NAME "',path='/org/freedesktop/"
                                  "DBus',interface='" DRIVER_NAME
                                  "',member='NameOwnerChanged',arg0='" PTRACED_BUS_NAME "'",
                                  on_owner_changed, NULL, p);
}
