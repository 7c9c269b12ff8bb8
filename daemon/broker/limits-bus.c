/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/limits-bus.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracer-link.h"

#define NOT_COUNTED UINT64_MAX
#define NAME_SHOWN 64u

/* ---- ListLimits ---- */

static uint64_t count_user(const struct broker *b, enum limit limit, uid_t uid)
{
    return limit == LIMIT_SESSIONS ? session_count(b, uid) : session_count_tracees(b, uid);
}

/* Of whom it is the administrator's to know all: the user that has the most. */
static uint64_t count_most(const struct broker *b, enum limit limit)
{
    uint64_t most = 0;

    for (size_t i = 0; i < b->sessions.n; i++) {
        const struct session *s = b->sessions.items[i].value;
        uint64_t n = count_user(b, limit, s->uid);

        most = n > most ? n : most;
    }
    return most;
}

/* What others have is nobody's business but root's. */
static uint64_t count_used(const struct caller *c, enum limit limit)
{
    struct kept *kept = &c->broker->kept;

    if (limit == LIMIT_KEPT)
        return auth_is_unlimited(c) ? kept_count_most(kept) : kept_count(kept, c->uid);
    if (limit != LIMIT_SESSIONS && limit != LIMIT_TRACEES)
        return NOT_COUNTED;
    return auth_is_unlimited(c) ? count_most(c->broker, limit)
                                : count_user(c->broker, limit, c->uid);
}

static int append_limits(const struct caller *c, sd_bus_message *m)
{
    int r;

    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "(stts)");
    for (int i = 0; r >= 0 && i < _LIMIT_MAX; i++) {
        const char *name, *what;

        if (limit_describe((enum limit)i, &name, &what))
            r = sd_bus_message_append(m, "(stts)", name, (uint64_t)limit_value((enum limit)i),
                                      count_used(c, (enum limit)i), what);
    }
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int limits_bus_list(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    struct broker *b = userdata;
    const struct caller *c = caller_of(b, m);
    int r;

    r = auth_check(c, NULL, m, error);
    if (r < 0)
        return r;
    r = sd_bus_message_new_method_return(m, &reply);
    if (r < 0)
        return r;
    r = append_limits(c, reply);
    if (r < 0)
        return r;
    return caller_answer(b, m, reply);
}

/* ---- SetLimit ---- */

static int fail_invalid(int r, const char *name, sd_bus_error *error)
{
    _cleanup_free_string_ char *shown = ptraced_escape(name, strnlen(name, NAME_SHOWN));

    if (r == -ENOENT)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "There is no limit \"%s\"; ListLimits tells which there are",
                                 shown ? shown : "");
    return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION, "The limit %s can be 1 to %u",
                             name, limit_most(name));
}

static void on_told(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct broker *b = userdata;

    if (error)
        log_debug(&b->log, "A tracer does not take the limits, ignoring: %s", error->message);
}

static int tell_tracer(struct tracer *t, uid_t uid)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r = tracer_new_call(t, "SetMaxima", &m);

    if (r >= 0)
        r = sd_bus_message_append(m, "uuuu", (uint32_t)uid, limit_value(LIMIT_EVENTS),
                                  limit_value(LIMIT_BREAKPOINTS), limit_value(LIMIT_THREADS));
    return r < 0 ? r : tracer_call(t, m, WIRE_NO_TIMEOUT, 0, on_told, t->broker);
}

/* They count by themselves what is born and arises there. */
static void tell_tracers(struct broker *b)
{
    LIST_FOREACH(struct tracer, t, &b->tracers, tracers)
        LIST_FOREACH(struct share, share, &t->shares, of_tracer)
            if (share->open && tell_tracer(t, share->session->uid) < 0)
                log_debug(&b->log, "Cannot tell tracer %d the limits, ignoring", t->pid);
}

static void tell_changed(struct broker *b)
{
    int r = sd_bus_emit_properties_changed(b->bus, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE,
                                           "SessionsMax", "TraceesMax", NULL);

    if (r < 0)
        log_warning(&b->log, "Cannot announce the new limits: %s", strerror(-r));
}

int limits_bus_set(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    const struct caller *c = caller_of(b, m);
    unsigned before = 0;
    const char *name;
    uint64_t value;
    int r;

    r = sd_bus_message_read(m, "st", &name, &value);
    if (r < 0)
        return r;
    r = limit_check_change(name, value);
    if (r < 0)
        return audit_failed(c, m, fail_invalid(r, name, error), error);
    r = auth_check(c, NULL, m, error);
    if (r < 0)
        return r;
    if (b->idle.leaving)
        return sd_bus_error_set(error, PTRACED_ERROR_TIMED_OUT,
                                "The service is just ending, since nobody needed it; call again");
    (void)limit_change(name, value, &before);
    if (before != value) {
        audit_limit_set(c, name, (unsigned)value, before);
        tell_changed(b);
        tell_tracers(b);
    }
    return sd_bus_reply_method_return(m, NULL);
}
