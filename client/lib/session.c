/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/escape.h"
#include "bus-api/names.h"
#include "client/lib/internal.h"

ptraced_session *session_find(ptraced *p, const char *id)
{
    for (ptraced_session *s = p->sessions; s; s = s->next)
        if (!s->has_ended && strcmp(s->id, id) == 0)
            return s;
    return NULL;
}

static void link_session(ptraced_session *s)
{
    ptraced *p = s->connection;

    s->next = p->sessions;
    if (s->next)
        s->next->previous = s;
    p->sessions = s;
}

static void unlink_session(ptraced_session *s)
{
    if (s->next)
        s->next->previous = s->previous;
    if (s->previous)
        s->previous->next = s->next;
    else
        s->connection->sessions = s->next;
}

static int session_new(ptraced *p, const char *id, ptraced_session **ret)
{
    ptraced_session *s;

    s = calloc(1, sizeof(*s));
    if (!s)
        return connection_fail(p, -ENOMEM, "Out of memory.");
    s->n_ref = 1;
    strcpy(s->id, id);
    s->connection = ptraced_ref(p);
    link_session(s);
    *ret = s;
    return 0;
}

void session_end(ptraced_session *s)
{
    s->has_ended = true;
    s->resubscribe = sd_bus_slot_unref(s->resubscribe);
}

/* A reply that holds the path of a session. */
static int read_session(ptraced *p, sd_bus_message *reply, ptraced_session **ret)
{
    struct ptraced_path path;
    const char *object;

    if (sd_bus_message_read(reply, "o", &object) <= 0 ||
        ptraced_path_parse(object, &path) != PTRACED_PATH_SESSION)
        return connection_fail(p, -EBADMSG, "The service answered with no session.");
    return session_new(p, path.session, ret);
}

static int append_session_options(sd_bus_message *m, const char *name, bool persistent)
{
    int r;

    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "{sv}", PTRACED_OPTION_NAME, "s", name);
    if (r < 0)
        return r;
    if (persistent) {
        r = sd_bus_message_append(m, "{sv}", PTRACED_OPTION_LIFETIME, "s",
                                  PTRACED_LIFETIME_PERSISTENT);
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(m);
}

static int create_session(ptraced *p, const char *name, bool persistent, ptraced_session **ret)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL, *reply = NULL;
    int r;

    r = connection_new_call(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "CreateSession", &m);
    if (r < 0)
        return r;
    r = append_session_options(m, name, persistent);
    if (r < 0)
        return connection_fail(p, r, "A session cannot be named like this: %s",
                               r == -EINVAL ? "the name has to be UTF-8" : strerror(-r));
    r = connection_send(p, m, &reply);
    if (r < 0)
        return r;
    return read_session(p, reply, ret);
}

_public_ int ptraced_session_new(ptraced *p, const char *name, unsigned flags,
                                 ptraced_session **ret)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *s = NULL;
    _cleanup_free_string_ char *own = NULL;
    bool persistent = flags & PTRACED_SESSION_PERSISTENT;
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    if (flags & ~(unsigned)PTRACED_SESSION_PERSISTENT)
        return connection_fail(p, -EINVAL, "Unknown flags of a session: %#x", flags);
    if (!name) {
        /* Whoever started this program chose these bytes. */
        name = own =
            ptraced_escape(program_invocation_short_name, strlen(program_invocation_short_name));
        if (!own)
            return connection_fail(p, -ENOMEM, "Out of memory.");
    }
    r = create_session(p, name, persistent, &s);
    if (r < 0)
        return r;
    s->is_subscribed = !persistent;
    if (persistent) {
        r = session_subscribe(s);
        if (r < 0) {
            (void)ptraced_session_close(s);
            return r;
        }
    }
    *ret = TAKE_PTR(s);
    return 0;
}

static int find_session(ptraced *p, const char *id, ptraced_session **ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    *ret = ptraced_session_ref(session_find(p, id));
    if (*ret)
        return 0;
    r = connection_call(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "GetSession", &reply, "s",
                        id);
    if (r < 0)
        return r;
    return read_session(p, reply, ret);
}

_public_ int ptraced_session_get(ptraced *p, const char *id, bool subscribe, ptraced_session **ret)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *s = NULL;
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    if (!ptraced_session_id_valid(id))
        return connection_fail(p, -EINVAL, "This is no id of a session: %s", id ? id : "(null)");
    r = find_session(p, id, &s);
    if (r < 0)
        return r;
    if (subscribe && !s->is_subscribed) {
        r = session_subscribe(s);
        if (r < 0)
            return r;
    }
    *ret = TAKE_PTR(s);
    return 0;
}

_public_ ptraced_session *ptraced_session_ref(ptraced_session *s)
{
    if (s)
        s->n_ref++;
    return s;
}

/* Nobody is left to take its events. Not waited for, and of no matter if it comes to nothing. */
static void stop_events(ptraced_session *s)
{
    ptraced *p = s->connection;
    char path[PTRACED_PATH_MAX];

    if (!s->is_subscribed || s->has_ended || p->is_lost || connection_check(p) < 0)
        return;
    (void)sd_bus_call_method_async(p->bus, NULL, p->on_bus ? PTRACED_BUS_NAME : NULL,
                                   ptraced_path_session(path, s->id), PTRACED_SESSION_INTERFACE,
                                   "Unsubscribe", NULL, NULL, "");
}

_public_ ptraced_session *ptraced_session_unref(ptraced_session *s)
{
    if (!s || --s->n_ref > 0)
        return NULL;
    stop_events(s);
    session_drop_events(s, 0);
    sd_bus_slot_unref(s->resubscribe);
    unlink_session(s);
    ptraced_unref(s->connection);
    free(s);
    return NULL;
}

_public_ void ptraced_session_unrefp(ptraced_session **s)
{
    *s = ptraced_session_unref(*s);
}

_public_ const char *ptraced_session_get_id(ptraced_session *s)
{
    return s->id;
}

_public_ ptraced *ptraced_session_get_connection(ptraced_session *s)
{
    return s->connection;
}

static int call(ptraced_session *s, const char *member, sd_bus_message **ret_reply)
{
    char path[PTRACED_PATH_MAX];

    return connection_call(s->connection, ptraced_path_session(path, s->id),
                           PTRACED_SESSION_INTERFACE, member, ret_reply, "");
}

int session_subscribe(ptraced_session *s)
{
    int r;

    /* Before the answer: events may come ahead of it. */
    s->is_subscribed = true;
    r = call(s, "Subscribe", NULL);
    if (r < 0)
        s->is_subscribed = false;
    return r;
}

int session_unsubscribe(ptraced_session *s)
{
    s->is_subscribed = false;
    return call(s, "Unsubscribe", NULL);
}

_public_ int ptraced_session_close(ptraced_session *s)
{
    int r;

    r = connection_check(s->connection);
    if (r < 0)
        return r;
    if (s->has_ended)
        return connection_fail(s->connection, -ENXIO, "Session %s has ended already.", s->id);
    r = call(s, "Close", NULL);
    if (r < 0)
        return r;
    session_end(s);
    return 0;
}

_public_ int ptraced_session_get_lost_events(ptraced_session *s, uint64_t *ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    char path[PTRACED_PATH_MAX];
    uint64_t lost;
    int r;

    r = connection_get_property(s->connection, ptraced_path_session(path, s->id),
                                PTRACED_SESSION_INTERFACE, "LostEvents", "t", &reply);
    if (r < 0)
        return r;
    r = sd_bus_message_read(reply, "t", &lost);
    if (r < 0)
        return connection_fail(s->connection, r, "The number of lost events cannot be read.");
    *ret = lost + s->n_dropped;
    return 0;
}
