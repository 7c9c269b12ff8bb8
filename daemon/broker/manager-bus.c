/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "config.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/gather.h"
#include "daemon/broker/limits-bus.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/options.h"
#include "daemon/broker/process.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* ---- CreateSession ---- */

struct create_options {
    const char *name;
    const char *lifetime;
    int queue;
};

static int read_create_options(sd_bus_message *m, struct create_options *ret, sd_bus_error *error)
{
    struct create_options o = {.name = "", .lifetime = PTRACED_LIFETIME_CLIENT};
    const struct option_rule rules[] = {
        {PTRACED_OPTION_NAME, "s", &o.name},
        {PTRACED_OPTION_QUEUE, "b", &o.queue},
        {PTRACED_OPTION_LIFETIME, "s", &o.lifetime},
    };
    int r;

    r = options_read(m, rules, ELEMENTSOF(rules), error);
    if (r < 0)
        return r;
    if (strlen(o.name) > SESSION_NAME_MAX)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "The option \"name\" is longer than %u bytes", SESSION_NAME_MAX);
    if (strcmp(o.lifetime, PTRACED_LIFETIME_CLIENT) != 0 &&
        strcmp(o.lifetime, PTRACED_LIFETIME_PERSISTENT) != 0)
        return sd_bus_error_set(error, PTRACED_ERROR_INVALID_OPTION,
                                "The option \"lifetime\" is neither \"client\" nor \"persistent\"");
    *ret = o;
    return 0;
}

static int create_session(struct broker *b, struct caller *c, const struct create_options *o,
                          struct session **ret, sd_bus_error *error)
{
    bool persistent = strcmp(o->lifetime, PTRACED_LIFETIME_PERSISTENT) == 0;
    _cleanup_free_string_ char *name = ptraced_escape(o->name, strlen(o->name));
    struct session *s;
    int r;

    if (!name)
        return -ENOMEM;
    r = session_new(b,
                    &(const struct session_settings){
                        .number = broker_next_session(b),
                        .uid = c->uid,
                        .name = name,
                        .owner = persistent ? "" : c->name,
                        .holder = c->name,
                        .persistent = persistent,
                        .queue = persistent || o->queue,
                    },
                    persistent ? NULL : c, &s);
    if (r < 0)
        return r;
    if (!persistent) {
        r = session_subscribe(s, c, error);
        if (r < 0) {
            session_close(s, NULL);
            return r;
        }
    }
    *ret = s;
    return 0;
}

static int check_limits(struct broker *b, const struct caller *c, sd_bus_error *error)
{
    int r = caller_check_user(c, error);

    if (r >= 0)
        r = limit_check(LIMIT_SESSIONS, session_count(b, c->uid), error);
    return r < 0 || auth_is_unlimited(c) ? r : audit_user_session(b, c->uid, error);
}

static int method_create_session(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    struct caller *c = caller_of(b, m);
    struct create_options options = {0};
    char path[PTRACED_PATH_MAX];
    struct session *s;
    int r;

    r = audit_failed(c, m, read_create_options(m, &options, error), error);
    if (r < 0)
        return r;
    r = auth_check(c, NULL, m, error);
    if (r < 0)
        return r;
    if (b->idle.leaving)
        return sd_bus_error_set(error, PTRACED_ERROR_TIMED_OUT,
                                "The service is just ending, since nobody needed it; call again");
    r = audit_failed(c, m, check_limits(b, c, error), error);
    if (r < 0)
        return r;
    r = create_session(b, c, &options, &s, error);
    if (r < 0)
        return r;

    ptraced_path_session(path, s->id);
    r = sd_bus_emit_signal(b->bus, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "SessionNew", "so",
                           s->id, path);
    if (r < 0)
        log_warning(&b->log, "Cannot announce session %s: %s", s->id, strerror(-r));
    return sd_bus_reply_method_return(m, "o", path);
}

/* ---- Lists ---- */

static int method_get_session(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    char path[PTRACED_PATH_MAX];
    const struct session *s;
    const char *id;
    int r;

    r = sd_bus_message_read(m, "s", &id);
    if (r < 0)
        return r;
    s = session_find(b, id);
    r = auth_check(caller_of(b, m), s, m, error);
    if (r < 0)
        return r;
    if (!s) {
        _cleanup_free_string_ char *shown = ptraced_escape(id, strnlen(id, SESSION_NAME_MAX));

        r = sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_SESSION, "There is no session \"%s\"",
                              shown ? shown : "");
        return audit_failed(caller_of(b, m), m, r, error);
    }
    return sd_bus_reply_method_return(m, "o", ptraced_path_session(path, s->id));
}

static int append_sessions(const struct broker *b, const struct caller *c, sd_bus_message *m)
{
    char path[PTRACED_PATH_MAX];
    int r;

    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "(suso)");
    if (r < 0)
        return r;
    for (size_t i = 0; i < b->sessions.n; i++) {
        const struct session *s = b->sessions.items[i].value;

        if (!auth_may_see(c, s))
            continue;
        r = sd_bus_message_append(m, "(suso)", s->id, (uint32_t)s->uid, s->name,
                                  ptraced_path_session(path, s->id));
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(m);
}

static int method_list_sessions(sd_bus_message *m, void *userdata, sd_bus_error *error)
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
    r = append_sessions(b, c, reply);
    if (r < 0)
        return r;
    return caller_answer(b, m, reply);
}

/* ListTracees under way; its caller may leave meanwhile. */
struct listing {
    sd_bus_message *call;
    uid_t uid;
    struct permits permits;
};

static int note_threads(struct session *s, sd_bus_message *description)
{
    uint32_t pid, n_threads, uid;
    const char *executable;
    int r, observe, plain;
    uint64_t since;

    r = sd_bus_message_enter_container(description, SD_BUS_TYPE_ARRAY, PTRACED_DESCRIBED_SIGNATURE);
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(description, PTRACED_DESCRIBED_SIGNATURE, &pid, &n_threads,
                                    &observe, &plain, &uid, &since, &executable)) > 0) {
        struct attachment *a = s ? attachment_find(s, (pid_t)pid, NULL) : NULL;

        if (!a)
            continue;
        a->n_threads = n_threads;
        a->uid = uid;
    }
    return r < 0 ? r : sd_bus_message_exit_container(description);
}

/* The answer of one tracer to Describe. */
static int note_description(struct broker *b, sd_bus_message *description)
{
    int r;

    r = sd_bus_message_enter_container(description, SD_BUS_TYPE_ARRAY,
                                       "(susssba" PTRACED_DESCRIBED_SIGNATURE ")");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(description, SD_BUS_TYPE_STRUCT,
                                               "susssba" PTRACED_DESCRIBED_SIGNATURE)) > 0) {
        const char *id;

        r = sd_bus_message_read(description, "s", &id);
        if (r >= 0)
            r = sd_bus_message_skip(description, "usssb");
        if (r >= 0)
            r = note_threads(session_find(b, id), description);
        if (r >= 0)
            r = sd_bus_message_exit_container(description);
        if (r < 0)
            return r;
    }
    return r;
}

static int append_tracees(const struct session *s, sd_bus_message *m)
{
    char path[PTRACED_PATH_MAX];
    int r;

    LIST_FOREACH(struct attachment, a, &s->attachments, of_session) {
        r = sd_bus_message_append(m, "(uuuso)", (uint32_t)a->pid, (uint32_t)a->uid, a->n_threads,
                                  s->id, ptraced_path_process(path, s->id, a->pid));
        if (r < 0)
            return r;
    }
    return 0;
}

static int reply_tracees(struct broker *b, const struct listing *l)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    const struct caller *c = caller_of(b, l->call);
    /* Who has nothing here may have been forgotten meanwhile. */
    const struct caller nobody = {.broker = b, .uid = l->uid, .name = (char[]){"-"}};
    int r;

    if (!c || !c->known || c->uid != l->uid)
        c = &nobody;
    r = sd_bus_message_new_method_return(l->call, &reply);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(uuuso)");
    if (r < 0)
        return r;
    for (size_t i = 0; i < b->sessions.n; i++) {
        const struct session *s = b->sessions.items[i].value;

        r = auth_may_be_shown(c, s, &l->permits) ? append_tracees(s, reply) : 0;
        if (r < 0)
            return r;
    }
    r = sd_bus_message_close_container(reply);
    if (r < 0)
        return r;
    return caller_answer(b, l->call, reply);
}

/* Where a tracer has not answered, its processes have as many threads as it said last. */
static void on_described(struct gather *g, void *userdata)
{
    _cleanup_free_string_ struct listing *l = userdata;
    int r = 0;

    LIST_FOREACH(struct gather_item, item, &g->items, items)
        if (item->reply && r >= 0)
            r = note_description(g->broker, item->reply);
    if (r >= 0)
        r = reply_tracees(g->broker, l);
    if (r < 0)
        sd_bus_reply_method_errno(l->call, r, NULL);
    sd_bus_message_unref(l->call);
}

static bool has_to_tell(const struct tracer *t, const struct caller *c)
{
    LIST_FOREACH(struct share, share, &t->shares, of_tracer)
        if (auth_may_see_processes(c, share->session))
            return !tracer_is_behind(t);
    return false;
}

/* Those alone that trace something the caller may see: nobody keeps other users' tracers busy, or
 * waits for one that is held up. */
static int describe_all(struct broker *b, const struct caller *c, struct listing *l,
                        sd_bus_error *error)
{
    _cleanup_(gather_freep) struct gather *g = NULL;
    int r;

    r = gather_check(b, l->uid, error);
    if (r < 0)
        return r;
    r = gather_new(b, l->uid, on_described, l, &g);
    if (r < 0)
        return r;
    gather_be_quick(g);
    LIST_FOREACH(struct tracer, t, &b->tracers, tracers) {
        _cleanup_bus_message_ sd_bus_message *m = NULL;

        if (!has_to_tell(t, c))
            continue;
        r = tracer_new_call(t, "Describe", &m);
        if (r >= 0)
            r = gather_add(g, t, m, 0);
        if (r == -ENOMEM)
            return r;
        if (r < 0) /* what it traces is listed all the same */
            log_debug(&b->log, "Cannot ask tracer %d, ignoring: %s", t->pid, strerror(-r));
    }
    sd_bus_message_ref(l->call);
    gather_start(TAKE_PTR(g));
    return 1;
}

static int method_list_tracees(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    const struct caller *c = caller_of(b, m);
    struct listing *l;
    int r;

    r = auth_check(c, NULL, m, error);
    if (r < 0)
        return r;
    l = malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    *l = (struct listing){.call = m, .uid = c->uid, .permits = c->permits};
    r = audit_failed(c, m, describe_all(b, c, l, error), error);
    if (r < 0)
        free(l);
    return r;
}

/* ---- Properties ---- */

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append(reply, "s", PTRACED_VERSION);
}

static int get_backends(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append(reply, "as", 1, "ptrace");
}

static int get_limit(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    unsigned value = PTRACED_QUEUE_MAX;

    if (strcmp(property, "SessionsMax") == 0)
        value = limit_value(LIMIT_SESSIONS);
    else if (strcmp(property, "TraceesMax") == 0)
        value = limit_value(LIMIT_TRACEES);
    return sd_bus_message_append(reply, "u", (uint32_t)value);
}

static int get_count(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct broker *b = userdata;
    size_t n = strcmp(property, "NSessions") == 0 ? b->sessions.n : b->tracees.n;

    return sd_bus_message_append(reply, "u", (uint32_t)n);
}

static const sd_bus_vtable manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("CreateSession", SD_BUS_ARGS("a{sv}", options),
                            SD_BUS_RESULT("o", session), method_create_session,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetSession", SD_BUS_ARGS("s", id), SD_BUS_RESULT("o", session),
                            method_get_session, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListSessions", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(suso)", sessions),
                            method_list_sessions, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListTracees", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(uuuso)", tracees),
                            method_list_tracees, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListLimits", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(stts)", limits),
                            limits_bus_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetLimit", SD_BUS_ARGS("s", name, "t", value), SD_BUS_NO_RESULT,
                            limits_bus_set, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Backends", "as", get_backends, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("SessionsMax", "u", get_limit, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("TraceesMax", "u", get_limit, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("QueueMax", "u", get_limit, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("NSessions", "u", get_count, 0, 0),
    SD_BUS_PROPERTY("NTracees", "u", get_count, 0, 0),
    SD_BUS_SIGNAL_WITH_ARGS("SessionNew", SD_BUS_ARGS("s", id, "o", session), 0),
    SD_BUS_SIGNAL_WITH_ARGS("SessionRemoved", SD_BUS_ARGS("s", id, "o", session), 0),
    SD_BUS_VTABLE_END,
};

int manager_bus_add(struct broker *b)
{
    return sd_bus_add_object_vtable(b->bus, NULL, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE,
                                    manager_vtable, b);
}
