/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/gather.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* ---- GetManagedObjects: sessions from here, processes from their tracers ---- */

struct inventory {
    sd_bus_message *call;
    sd_bus_message *reply; /* stands inside the array of objects */
};

static struct inventory *inventory_free(struct inventory *v)
{
    if (!v)
        return NULL;
    sd_bus_message_unref(v->call);
    sd_bus_message_unref(v->reply);
    free(v);
    return NULL;
}

static void inventory_freep(struct inventory **v)
{
    inventory_free(*v);
}

static int open_object(sd_bus_message *m, const char *path, const char *interface)
{
    int r;

    r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "oa{sa{sv}}");
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "o", path);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sa{sv}}");
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sa{sv}");
    if (r < 0)
        return r;
    return sd_bus_message_append(m, "s", interface);
}

static int close_object(sd_bus_message *m)
{
    for (unsigned i = 0; i < 3; i++) {
        int r = sd_bus_message_close_container(m);

        if (r < 0)
            return r;
    }
    return 0;
}

static int append_session(struct session *s, sd_bus_message *m)
{
    char path[PTRACED_PATH_MAX];
    int r;

    r = open_object(m, ptraced_path_session(path, s->id), PTRACED_SESSION_INTERFACE);
    if (r < 0)
        return r;
    r = session_bus_append_properties(s, m);
    if (r < 0)
        return r;
    return close_object(m);
}

/* `properties` is a tracer's answer, or NULL: then we tell what we know. */
static int append_process(const char *path, sd_bus_message *properties, sd_bus_message *m)
{
    struct ptraced_path parsed;
    int r;

    ptraced_path_parse(path, &parsed);
    r = open_object(m, path, PTRACED_PROCESS_INTERFACE);
    if (r < 0)
        return r;
    r = properties ? sd_bus_message_copy(m, properties, true)
                   : sd_bus_message_append(m, "a{sv}", 1, "Pid", "u", (uint32_t)parsed.pid);
    if (r < 0)
        return r;
    return close_object(m);
}

static int reply_inventory(const struct gather *g, sd_bus_message *call, sd_bus_message *reply)
{
    int r;

    /* One that has ended meanwhile is left out; one whose tracer does not answer is there. */
    LIST_FOREACH(struct gather_item, item, &g->items, items) {
        if (!item->reply && !item->timed_out)
            continue;
        r = append_process(item->path, item->reply, reply);
        if (r < 0)
            return r;
    }
    r = sd_bus_message_close_container(reply);
    if (r < 0)
        return r;
    return caller_answer(g->broker, call, reply);
}

static void on_properties(struct gather *g, void *userdata)
{
    _cleanup_(inventory_freep) struct inventory *v = userdata;
    int r;

    r = reply_inventory(g, v->call, v->reply);
    if (r < 0)
        sd_bus_reply_method_errno(v->call, r, NULL);
}

static int ask_process(struct gather *g, const struct attachment *a)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct tracer *t = a->tracee->tracer;
    char path[PTRACED_PATH_MAX];
    int r;

    ptraced_path_process(path, a->session->id, a->tracee->pid);
    r = sd_bus_message_new_method_call(t->wire.bus, &m, NULL, path,
                                       "org.freedesktop.DBus.Properties", "GetAll");
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "s", PTRACED_PROCESS_INTERFACE);
    if (r < 0)
        return r;
    return gather_add(g, t, m, a->tracee->pid);
}

static int take_inventory(struct broker *b, const struct caller *c, struct gather *g,
                          sd_bus_message *reply)
{
    int r;

    for (size_t i = 0; i < b->sessions.n; i++) {
        struct session *s = b->sessions.items[i].value;

        if (!auth_may_see(c, s))
            continue;
        r = append_session(s, reply);
        if (r < 0)
            return r;
        if (!auth_may_see_processes(c, s))
            continue;
        LIST_FOREACH(struct attachment, a, &s->attachments, of_session) {
            r = ask_process(g, a);
            if (r < 0 && r != -ENOTCONN)
                return r;
        }
    }
    return 0;
}

static int get_managed_objects(struct broker *b, sd_bus_message *call, sd_bus_error *error)
{
    _cleanup_(inventory_freep) struct inventory *v = NULL;
    _cleanup_(gather_freep) struct gather *g = NULL;
    const struct caller *c = caller_of(b, call);
    int r;

    r = auth_check(c, NULL, call, error);
    if (r < 0)
        return r;
    r = gather_check(b, c->uid, error);
    if (r < 0)
        return r;
    v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    v->call = sd_bus_message_ref(call);
    r = sd_bus_message_new_method_return(call, &v->reply);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(v->reply, SD_BUS_TYPE_ARRAY, "{oa{sa{sv}}}");
    if (r < 0)
        return r;
    r = gather_new(b, c->uid, on_properties, v, &g);
    if (r < 0)
        return r;
    gather_be_quick(g);
    r = take_inventory(b, c, g, v->reply);
    if (r < 0)
        return r;
    TAKE_PTR(v);
    gather_start(TAKE_PTR(g));
    return 1;
}

/* sd-bus asks us first. The methods of Manager check for themselves, once they have read what is
 * asked. */
static int on_root_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    const struct caller *c = caller_of(b, m);
    int r;

    if (sd_bus_message_is_method_call(m, PTRACED_MANAGER_INTERFACE, NULL))
        return 0;
    if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"))
        return audit_failed(c, m, get_managed_objects(b, m, error), error);
    r = auth_check(c, NULL, m, error);
    return r < 0 ? r : 0;
}

/* ---- Children, for introspection ---- */

struct nodes {
    char **paths;
    size_t n;
};

static void nodes_done(struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->n; i++)
        free(nodes->paths[i]);
    free(nodes->paths);
}

/* Keeps the list closed by a NULL. */
static int nodes_add(struct nodes *nodes, const char *path)
{
    char **paths, *copy;

    paths = reallocarray(nodes->paths, nodes->n + 2, sizeof(char *));
    if (!paths)
        return -ENOMEM;
    nodes->paths = paths;
    nodes->paths[nodes->n] = copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    nodes->paths[++nodes->n] = NULL;
    return 0;
}

static int add_sessions(struct broker *b, const struct caller *c, struct nodes *nodes)
{
    char path[PTRACED_PATH_MAX];
    int r = 0;

    for (size_t i = 0; i < b->sessions.n && r >= 0; i++) {
        const struct session *s = b->sessions.items[i].value;

        if (auth_may_see(c, s))
            r = nodes_add(nodes, ptraced_path_session(path, s->id));
    }
    return r;
}

static int add_processes(struct session *s, struct nodes *nodes)
{
    char path[PTRACED_PATH_MAX];
    int r = 0;

    LIST_FOREACH(struct attachment, a, &s->attachments, of_session) {
        r = nodes_add(nodes, ptraced_path_process(path, s->id, a->tracee->pid));
        if (r < 0)
            break;
    }
    return r;
}

static int add_process_list(const struct session *s, struct nodes *nodes)
{
    char session[PTRACED_PATH_MAX], path[PTRACED_PATH_MAX + sizeof("/process")];

    snprintf(path, sizeof(path), "%s/process", ptraced_path_session(session, s->id));
    return nodes_add(nodes, path);
}

/* What is below a process is the tracer's to tell. */
static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                     sd_bus_error *error)
{
    _cleanup_(nodes_done) struct nodes nodes = {0};
    struct broker *b = userdata;
    const struct caller *c = caller_of(b, sd_bus_get_current_message(bus));
    struct ptraced_path path;
    struct session *s;
    int r = 0;

    ptraced_path_parse(prefix, &path);
    s = path.kind == PTRACED_PATH_INVALID ? NULL : session_find(b, path.session);
    if (strcmp(prefix, PTRACED_SESSION_PREFIX) == 0)
        r = c ? add_sessions(b, c, &nodes) : 0;
    else if (s && path.kind == PTRACED_PATH_SESSION)
        r = add_process_list(s, &nodes);
    else if (s && path.kind == PTRACED_PATH_PROCESS_LIST)
        r = add_processes(s, &nodes);
    if (r < 0)
        return r;
    *ret_nodes = TAKE_PTR(nodes.paths);
    nodes.n = 0;
    return 0;
}

int objects_add(struct broker *b)
{
    int r;

    r = sd_bus_add_object(b->bus, NULL, PTRACED_ROOT_PATH, on_root_call, b);
    if (r < 0)
        return r;
    /* For introspection: its one method comes to us. */
    r = sd_bus_add_object_manager(b->bus, NULL, PTRACED_ROOT_PATH);
    if (r < 0)
        return r;
    return sd_bus_add_node_enumerator(b->bus, NULL, PTRACED_SESSION_PREFIX, enumerate, b);
}
