/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/events.h"
#include "daemon/broker/gather.h"
#include "daemon/broker/measure.h"
#include "daemon/broker/options.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"

static int method_attach_process(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    struct caller *c = caller_of(s->broker, m);

    return audit_failed(c, m, attach_process(s, c, m, error), error);
}

static int method_attach_process_fd(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    struct caller *c = caller_of(s->broker, m);

    return audit_failed(c, m, attach_process_fd(s, c, m, error), error);
}

static int method_attach_thread(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    struct caller *c = caller_of(s->broker, m);

    return audit_failed(c, m, attach_thread(s, c, m, error), error);
}

static int method_authorize_process(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    struct caller *c = caller_of(s->broker, m);

    return audit_failed(c, m, attach_authorize_process(s, c, m, error), error);
}

/* ---- What goes to all tracers of the session ---- */

struct broadcast {
    struct session *session;
    sd_bus_message *call;
};

static struct broadcast *broadcast_free(struct broadcast *o)
{
    if (!o)
        return NULL;
    session_unref(o->session);
    sd_bus_message_unref(o->call);
    free(o);
    return NULL;
}

static void broadcast_freep(struct broadcast **o)
{
    broadcast_free(*o);
}

/* `rest` follows the session's id, or is NULL. */
static int broadcast(struct session *s, sd_bus_message *call, const char *member,
                     sd_bus_message *rest, gather_done_t done, sd_bus_error *error)
{
    _cleanup_(broadcast_freep) struct broadcast *o = NULL;
    _cleanup_(gather_freep) struct gather *g = NULL;
    const struct caller *c = caller_of(s->broker, call);
    int r;

    r = audit_failed(c, call, gather_check(s->broker, c->uid, error), error);
    if (r < 0)
        return r;
    o = malloc(sizeof(*o));
    if (!o)
        return -ENOMEM;
    *o = (struct broadcast){.session = session_ref(s), .call = sd_bus_message_ref(call)};
    r = gather_new(s->broker, c->uid, done, o, &g);
    if (r < 0)
        return r;
    r = gather_session_call(g, s, member, rest);
    if (r < 0)
        return r;
    TAKE_PTR(o);
    gather_start(TAKE_PTR(g));
    return 1;
}

static void on_all_done(struct gather *g, void *userdata)
{
    _cleanup_(broadcast_freep) struct broadcast *o = userdata;
    const sd_bus_error *error = gather_first_error(g);

    if (error) {
        audit_failed(caller_of(g->broker, o->call), o->call, -ECANCELED, error);
        sd_bus_reply_method_error(o->call, error);
    } else
        sd_bus_reply_method_return(o->call, NULL);
}

static void set_releaser(struct session *s, const struct caller *c)
{
    LIST_FOREACH(struct attachment, a, &s->attachments, of_session)
        attachment_set_releaser(a, c);
}

/* What the session still has of the events of processes that it has given up goes too. A tracer
 * that has ended has let everything go before. */
static void on_all_detached(struct gather *g, void *userdata)
{
    const struct broadcast *o = userdata;

    LIST_FOREACH(struct gather_item, item, &g->items, items)
        if (sd_bus_error_has_name(&item->error, PTRACED_ERROR_TRACER_GONE))
            sd_bus_error_free(&item->error);
    if (!gather_first_error(g) && !o->session->closed)
        events_forget(o->session, 0);
    set_releaser(o->session, NULL);
    on_all_done(g, userdata);
}

static int method_detach_all(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    int r;

    r = auth_check(caller_of(s->broker, m), s, m, error);
    if (r < 0)
        return r;
    set_releaser(s, caller_of(s->broker, m));
    r = broadcast(s, m, "Detach", NULL, on_all_detached, error);
    if (r < 0)
        set_releaser(s, NULL);
    return r;
}

static int method_interrupt(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    int r;

    r = auth_check(caller_of(s->broker, m), s, m, error);
    if (r < 0)
        return r;
    return broadcast(s, m, "Interrupt", NULL, on_all_done, error);
}

static int method_continue(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    static const struct option_rule rules[] = {
        {PTRACED_OPTION_MODE, "s", NULL},
        {PTRACED_OPTION_SUPPRESS, "b", NULL},
    };
    struct session *s = userdata;
    struct measure size;
    int r;

    r = measure_check(m, MEASURE_CONTINUE, &size, error);
    if (r >= 0)
        r = options_read(m, rules, ELEMENTSOF(rules), error);
    if (r < 0)
        return audit_failed(caller_of(s->broker, m), m, r, error);
    r = auth_check(caller_of(s->broker, m), s, m, error);
    if (r < 0)
        return r;
    return broadcast(s, m, "Continue", m, on_all_done, error);
}

static int reply_stopped(const struct gather *g, sd_bus_message *call)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(call, &reply);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
    if (r < 0)
        return r;
    LIST_FOREACH(struct gather_item, item, &g->items, items) {
        r = sd_bus_message_enter_container(item->reply, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
        if (r < 0)
            return r;
        r = sd_bus_message_copy(reply, item->reply, true);
        if (r < 0)
            return r;
    }
    r = sd_bus_message_close_container(reply);
    if (r < 0)
        return r;
    return caller_answer(g->broker, call, reply);
}

static void on_stopped_listed(struct gather *g, void *userdata)
{
    _cleanup_(broadcast_freep) struct broadcast *o = userdata;
    const sd_bus_error *error = gather_first_error(g);
    int r;

    r = error ? sd_bus_reply_method_error(o->call, error) : reply_stopped(g, o->call);
    if (r < 0)
        sd_bus_reply_method_errno(o->call, r, NULL);
}

static int method_list_stopped(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    int r;

    r = auth_check(caller_of(s->broker, m), s, m, error);
    if (r < 0)
        return r;
    return broadcast(s, m, "ListStopped", NULL, on_stopped_listed, error);
}

/* ---- What the broker does alone ---- */

static int method_subscribe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    struct caller *c = caller_of(s->broker, m);
    int r;

    r = auth_check(c, s, m, error);
    if (r < 0)
        return r;
    r = caller_check_user(c, error);
    if (r >= 0)
        r = session_subscribe(s, c, error);
    if (r < 0)
        return audit_failed(c, m, r, error);
    return sd_bus_reply_method_return(m, NULL);
}

static int method_unsubscribe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    const struct caller *c = caller_of(s->broker, m);
    int r;

    r = auth_check(c, s, m, error);
    if (r < 0)
        return r;
    session_unsubscribe(s, c);
    return sd_bus_reply_method_return(m, NULL);
}

static int method_close(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    int r;

    r = auth_check(caller_of(s->broker, m), s, m, error);
    if (r < 0)
        return r;
    session_close(s, m);
    return 1;
}

static int method_get_event(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct session *s = userdata;
    struct caller *c = caller_of(s->broker, m);
    uint64_t timeout_usec;
    int r;

    r = sd_bus_message_read(m, "t", &timeout_usec);
    if (r < 0)
        return r;
    r = auth_check(c, s, m, error);
    if (r >= 0)
        r = caller_check_user(c, error);
    if (r >= 0)
        r = events_get(s, c, m, 0, 0, timeout_usec, error);
    return audit_failed(c, m, r, error);
}

/* ---- Properties ---- */

static const char *lifetime(const struct session *s)
{
    return s->persistent ? PTRACED_LIFETIME_PERSISTENT : PTRACED_LIFETIME_CLIENT;
}

static int get_id(sd_bus *bus, const char *path, const char *interface, const char *property,
                  sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct session *s = userdata;

    return sd_bus_message_append(reply, "s", s->id);
}

static int get_name(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct session *s = userdata;

    return sd_bus_message_append(reply, "s", s->name);
}

static int get_uid(sd_bus *bus, const char *path, const char *interface, const char *property,
                   sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct session *s = userdata;

    return sd_bus_message_append(reply, "u", (uint32_t)s->uid);
}

static int get_lifetime(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append(reply, "s", lifetime(userdata));
}

static int get_queue(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct session *s = userdata;

    return sd_bus_message_append(reply, "b", (int)s->queue);
}

static int get_lost_events(sd_bus *bus, const char *path, const char *interface,
                           const char *property, sd_bus_message *reply, void *userdata,
                           sd_bus_error *error)
{
    return sd_bus_message_append(reply, "t", session_lost_events(userdata));
}

int session_bus_append_properties(struct session *s, sd_bus_message *m)
{
    return sd_bus_message_append(m, "a{sv}", 6, "Id", "s", s->id, "Name", "s", s->name, "Uid", "u",
                                 (uint32_t)s->uid, "Lifetime", "s", lifetime(s), "Queue", "b",
                                 (int)s->queue, "LostEvents", "t", session_lost_events(s));
}

static const sd_bus_vtable session_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("AttachProcess", SD_BUS_ARGS("u", pid, "a{sv}", options),
                            SD_BUS_RESULT("o", process), method_attach_process,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("AttachProcessFD", SD_BUS_ARGS("h", pidfd, "a{sv}", options),
                            SD_BUS_RESULT("o", process), method_attach_process_fd,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("AttachThread", SD_BUS_ARGS("u", tid, "a{sv}", options),
                            SD_BUS_RESULT("o", thread, "b", added), method_attach_thread,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("AuthorizeProcess", SD_BUS_ARGS("u", pid, "a{sv}", options),
                            SD_BUS_NO_RESULT, method_authorize_process, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("DetachAll", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_detach_all,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Interrupt", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_interrupt,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Continue", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT,
                            method_continue, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Subscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_subscribe,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Unsubscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_unsubscribe,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Close", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_close,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetEvent", SD_BUS_ARGS("t", timeout_usec),
                            SD_BUS_RESULT(PTRACED_EVENT_SIGNATURE, event), method_get_event,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListStopped", SD_BUS_NO_ARGS,
                            SD_BUS_RESULT("a" PTRACED_EVENT_SIGNATURE, events), method_list_stopped,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Id", "s", get_id, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Name", "s", get_name, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Uid", "u", get_uid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Lifetime", "s", get_lifetime, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Queue", "b", get_queue, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("LostEvents", "t", get_lost_events, 0, 0),
    SD_BUS_SIGNAL_WITH_ARGS("ThreadEvent", SD_BUS_ARGS(PTRACED_EVENT_SIGNATURE, event), 0),
    SD_BUS_VTABLE_END,
};

static int find_session(sd_bus *bus, const char *path, const char *interface, void *userdata,
                        void **ret_found, sd_bus_error *error)
{
    struct ptraced_path parsed;

    if (ptraced_path_parse(path, &parsed) != PTRACED_PATH_SESSION)
        return 0;
    *ret_found = session_find(userdata, parsed.session);
    return *ret_found != NULL;
}

int session_bus_add(struct broker *b)
{
    return sd_bus_add_fallback_vtable(b->bus, NULL, PTRACED_SESSION_PREFIX,
                                      PTRACED_SESSION_INTERFACE, session_vtable, find_session, b);
}
