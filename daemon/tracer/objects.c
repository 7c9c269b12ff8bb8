/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/tracer.h"

static int find_process(struct tracer *t, const struct ptraced_path *path,
                        struct process_object *ret, sd_bus_error *error)
{
    struct tracer_session *s = tracer_find_session(t, path->session);
    struct attachment *a = s ? session_find(s->core, path->pid) : NULL;

    if (!a)
        return sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_ATTACHED,
            "Session %s does not trace process %d: it has ended, was detached, "
            "or was never attached",
            path->session, path->pid);
    *ret = (struct process_object){.tracer = t, .session = s, .attachment = a};
    return 0;
}

static int find_thread(struct tracer *t, const struct ptraced_path *path,
                       struct process_object *ret, struct tracee **ret_tracee, sd_bus_error *error)
{
    struct tracee *tracee = tidmap_get(&t->trace->tids, path->tid);
    struct process_object object = {0};
    int r;

    r = find_process(t, path, &object, error);
    if (r < 0)
        return r;
    if (!tracee || !engine_find(tracee, object.attachment))
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD,
                                 "Session %s traces no thread %d of process %d: it has ended, was "
                                 "detached, or was never attached",
                                 path->session, path->tid, path->pid);
    *ret = object;
    *ret_tracee = tracee;
    return 0;
}

int objects_find_process(struct tracer *t, const char *path, struct process_object *ret,
                         sd_bus_error *error)
{
    struct ptraced_path parsed;

    ptraced_path_parse(path, &parsed);
    return find_process(t, &parsed, ret, error);
}

int objects_find_thread(struct tracer *t, const char *path, struct process_object *ret,
                        struct tracee **ret_tracee, sd_bus_error *error)
{
    struct ptraced_path parsed;

    ptraced_path_parse(path, &parsed);
    return find_thread(t, &parsed, ret, ret_tracee, error);
}

int objects_check_held(const struct process_object *o, const struct tracee *tracee,
                       sd_bus_error *error)
{
    if (tracee->state == TRACEE_STOPPED && engine_find(tracee, o->attachment)->held)
        return 0;
    return sd_bus_error_setf(error, PTRACED_ERROR_NOT_STOPPED,
                             "Thread %d of process %d is not stopped for session %s; Interrupt it "
                             "first, and wait for its event",
                             tracee->tid, o->attachment->process->pidref.pid, o->session->id);
}

/* sd-bus asks whether a path has an interface; which object it is, the handler looks up from the
 * message itself, since a handler may outlive what stood there. */
static int process_exists(sd_bus *bus, const char *path, const char *interface, void *userdata,
                          void **ret_found, sd_bus_error *error)
{
    struct process_object object = {0};
    struct ptraced_path parsed;
    int r;

    if (ptraced_path_parse(path, &parsed) != PTRACED_PATH_PROCESS)
        return 0;
    r = find_process(userdata, &parsed, &object, error);
    if (r < 0)
        return r;
    *ret_found = userdata;
    return 1;
}

/* Detach of a thread that is not attached (any more) is no error: it answers that there was nothing
 * to do. */
static bool is_detach(sd_bus *bus)
{
    sd_bus_message *m = sd_bus_get_current_message(bus);

    return m && sd_bus_message_is_method_call(m, PTRACED_THREAD_INTERFACE, "Detach");
}

static bool is_thread_of_tracee(struct tracer *t, const struct ptraced_path *path)
{
    struct process_object object = {0};

    return find_process(t, path, &object, NULL) >= 0 &&
           pidref_has_thread(&object.attachment->process->pidref, path->tid);
}

static int thread_exists(sd_bus *bus, const char *path, const char *interface, void *userdata,
                         void **ret_found, sd_bus_error *error)
{
    struct process_object object = {0};
    struct ptraced_path parsed;
    struct tracee *tracee = NULL;
    int r;

    if (ptraced_path_parse(path, &parsed) != PTRACED_PATH_THREAD)
        return 0;
    r = find_thread(userdata, &parsed, &object, &tracee, error);
    if (r < 0 && is_detach(bus) && is_thread_of_tracee(userdata, &parsed)) {
        sd_bus_error_free(error);
        r = 0;
    }
    if (r < 0)
        return r;
    *ret_found = userdata;
    return 1;
}

static int list_threads(const struct process_object *o, char ***ret)
{
    const struct process *p = o->attachment->process;
    const struct tracee *tracee;
    char **nodes = calloc(p->n_tracees + 1, sizeof(*nodes));
    size_t n = 0;

    if (!nodes)
        return -ENOMEM;
    TAILQ_FOREACH(tracee, &p->tracees, siblings) {
        char path[PTRACED_PATH_MAX];

        if (!engine_find(tracee, o->attachment))
            continue;
        nodes[n] = strdup(ptraced_path_thread(path, o->session->id, p->pidref.pid, tracee->tid));
        if (!nodes[n++])
            break;
    }
    *ret = nodes;
    return 0;
}

/* Children for introspection: "thread" below a process, and the threads below that. */
static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
                     sd_bus_error *error)
{
    struct process_object object = {0};
    struct ptraced_path path;
    char text[PTRACED_PATH_MAX + sizeof("/thread")];

    ptraced_path_parse(prefix, &path);
    if (path.kind != PTRACED_PATH_PROCESS && path.kind != PTRACED_PATH_THREAD_LIST)
        return 0;
    if (find_process(userdata, &path, &object, NULL) < 0)
        return 0;
    if (path.kind == PTRACED_PATH_THREAD_LIST)
        return list_threads(&object, ret_nodes);

    *ret_nodes = calloc(2, sizeof(**ret_nodes));
    if (!*ret_nodes)
        return -ENOMEM;
    ptraced_path_process(text, path.session, path.pid);
    (*ret_nodes)[0] = strdup(strcat(text, "/thread"));
    return 0;
}

int objects_register(struct tracer *t, sd_bus *bus)
{
    int r;

    r = sd_bus_add_object_vtable(bus, NULL, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE,
                                 internal_vtable, t);
    if (r < 0)
        return r;
    r = sd_bus_add_fallback_vtable(bus, NULL, PTRACED_SESSION_PREFIX, PTRACED_PROCESS_INTERFACE,
                                   process_vtable, process_exists, t);
    if (r < 0)
        return r;
    r = sd_bus_add_fallback_vtable(bus, NULL, PTRACED_SESSION_PREFIX, PTRACED_THREAD_INTERFACE,
                                   thread_vtable, thread_exists, t);
    if (r < 0)
        return r;
    return sd_bus_add_node_enumerator(bus, NULL, PTRACED_SESSION_PREFIX, enumerate, t);
}
