/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

/* For a filter that is to be widened again. */
#define KIND_NAME(kind, name) name,
static const char *const default_kinds[] = {PTRACED_EVENT_KINDS_DEFAULT(KIND_NAME) NULL};
#undef KIND_NAME

const char *const no_kinds[] = {NULL};

int attach_options_read(const struct ptraced_attach_options *o, struct ptraced_attach_options *ret)
{
    struct ptraced_attach_options options = {.size = sizeof(options)};

    if (o) {
        if (o->size < sizeof(options))
            return -EINVAL;
        /* A newer program may ask for what this library does not know: only if it does not. */
        for (size_t i = sizeof(options); i < o->size; i++)
            if (((const unsigned char *)o)[i] != 0)
                return -E2BIG;
        options = *o;
        options.size = sizeof(options);
    }
    *ret = options;
    return 0;
}

static int append_string(sd_bus_message *m, const char *key, const char *value)
{
    return sd_bus_message_append(m, "{sv}", key, "s", value);
}

static int append_strings(sd_bus_message *m, const char *key, const char *const *strings)
{
    int r;

    r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv");
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "s", key);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, "as");
    if (r < 0)
        return r;
    r = sd_bus_message_append_strv(m, (char **)strings);
    if (r < 0)
        return r;
    r = sd_bus_message_close_container(m);
    if (r < 0)
        return r;
    return sd_bus_message_close_container(m);
}

static int append_follow(sd_bus_message *m, const char *key, enum ptraced_follow follow)
{
    switch (follow) {
    case PTRACED_FOLLOW_DEFAULT:
        return 0;
    case PTRACED_FOLLOW_NONE:
        return append_string(m, key, "none");
    case PTRACED_FOLLOW_EVENTS:
        return append_string(m, key, "follow");
    }
    return -EINVAL;
}

static int append_entries(sd_bus_message *m, const struct ptraced_attach_options *o)
{
    int r;

    r = append_follow(m, PTRACED_OPTION_THREADS, o->threads);
    if (r < 0)
        return r;
    r = append_follow(m, PTRACED_OPTION_CHILDREN, o->children);
    if (r < 0)
        return r;
    if (o->stop) {
        r = sd_bus_message_append(m, "{sv}", PTRACED_OPTION_STOP, "b", true);
        if (r < 0)
            return r;
    }
    if (o->kinds) {
        r = append_strings(m, PTRACED_OPTION_EVENTS, (const char *const *)o->kinds);
        if (r < 0)
            return r;
    }
    if (o->stops)
        return append_strings(m, PTRACED_OPTION_STOPS, (const char *const *)o->stops);
    return 0;
}

static int append_options(sd_bus_message *m, const struct ptraced_attach_options *o, int proof)
{
    int r;

    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    r = append_entries(m, o);
    if (r >= 0 && proof >= 0)
        r = sd_bus_message_append(m, "{sv}", PTRACED_OPTION_PROOF, "h", proof);
    if (r < 0)
        return r;
    return sd_bus_message_close_container(m);
}

/* One of the attach methods, whose first argument is a descriptor or a number. */
static int attach_with(ptraced_session *s, const char *method, char type, int what, int proof,
                       const struct ptraced_attach_options *o, sd_bus_message **ret_reply)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct ptraced_attach_options options;
    ptraced *p = s->connection;
    char path[PTRACED_PATH_MAX];
    int r;

    r = connection_new_call(p, ptraced_path_session(path, s->id), PTRACED_SESSION_INTERFACE, method,
                            &m);
    if (r < 0)
        return r;
    r = attach_options_read(o, &options);
    if (r < 0)
        return connection_fail(p, r, "The attach options are of an unknown size: %zu", o->size);
    r = sd_bus_message_append_basic(m, type, &what);
    if (r < 0)
        return connection_fail(p, r, "Failed to ask for process %d: %s", what, strerror(-r));
    r = append_options(m, &options, proof);
    if (r < 0)
        return connection_fail(p, r, "The attach options are not valid: %s", strerror(-r));
    return connection_send_asking(p, m, ret_reply);
}

/* Where the process has executed another program since, the proof is none: then polkit is asked. */
static int attach(ptraced_session *s, const char *method, char type, int what,
                  const struct ptraced_attach_options *o, sd_bus_message **ret_reply)
{
    int proof = proof_open(s->connection, method, what);
    int r = attach_with(s, method, type, what, proof, o, ret_reply);

    if (proof < 0)
        return r;
    close(proof);
    return r == -EPERM ? attach_with(s, method, type, what, -1, o, ret_reply) : r;
}

_public_ int ptraced_attach(ptraced_session *s, pid_t pid, const struct ptraced_attach_options *o)
{
    if (pid <= 0)
        return connection_fail(s->connection, -EINVAL, "This is no process id: %d", pid);
    return attach(s, "AttachProcess", SD_BUS_TYPE_UINT32, pid, o, NULL);
}

_public_ int ptraced_attach_pidfd(ptraced_session *s, int pidfd,
                                  const struct ptraced_attach_options *o)
{
    ptraced *p = s->connection;

    if (pidfd < 0)
        return connection_fail(p, -EBADF, "This is no descriptor: %d", pidfd);
    if (p->transport == PTRACED_TRANSPORT_REMOTE)
        return connection_fail(p, -EOPNOTSUPP,
                               "A descriptor cannot be sent to another host: attach by number.");
    return attach(s, "AttachProcessFD", SD_BUS_TYPE_UNIX_FD, pidfd, o, NULL);
}

_public_ int ptraced_attach_thread(ptraced_session *s, pid_t tid,
                                   const struct ptraced_attach_options *o)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    const char *thread;
    int added, r;

    if (tid <= 0)
        return connection_fail(s->connection, -EINVAL, "This is no thread id: %d", tid);
    r = attach(s, "AttachThread", SD_BUS_TYPE_UINT32, tid, o, &reply);
    if (r < 0)
        return r;
    r = sd_bus_message_read(reply, "ob", &thread, &added);
    if (r < 0)
        return connection_fail(s->connection, r, "The answer to AttachThread cannot be read.");
    return added;
}

static int authorize_with(ptraced_session *s, pid_t pid, int proof)
{
    static const struct ptraced_attach_options nothing = {.size = sizeof(nothing)};
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    ptraced *p = s->connection;
    char path[PTRACED_PATH_MAX];
    int r;

    r = connection_new_call(p, ptraced_path_session(path, s->id), PTRACED_SESSION_INTERFACE,
                            "AuthorizeProcess", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "u", (uint32_t)pid);
    if (r >= 0)
        r = append_options(m, &nothing, proof);
    if (r < 0)
        return connection_fail(p, r, "Failed to ask for process %d: %s", pid, strerror(-r));
    return connection_send_asking(p, m, NULL);
}

_public_ int ptraced_authorize(ptraced_session *s, pid_t pid)
{
    int proof, r;

    if (pid <= 0)
        return connection_fail(s->connection, -EINVAL, "This is no process id: %d", pid);
    proof = proof_open(s->connection, "AttachProcess", pid);
    r = authorize_with(s, pid, proof);
    if (proof < 0)
        return r;
    close(proof);
    return r == -EPERM ? authorize_with(s, pid, -1) : r;
}

int session_set_filter(ptraced_session *s, pid_t pid, const char *const *kinds,
                       const char *const *stops)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    const struct ptraced_attach_options filter = {
        .size = sizeof(filter),
        .kinds = (const char **)kinds,
        .stops = (const char **)stops,
    };
    ptraced *p = s->connection;
    char path[PTRACED_PATH_MAX];
    int r;

    r = connection_new_call(p, ptraced_path_process(path, s->id, pid), PTRACED_PROCESS_INTERFACE,
                            "SetEventFilter", &m);
    if (r < 0)
        return r;
    r = append_options(m, &filter, -1);
    if (r < 0)
        return connection_fail(p, r, "The event filter is not valid: %s", strerror(-r));
    return connection_send(p, m, NULL);
}

_public_ int ptraced_set_event_filter(ptraced_session *s, pid_t pid, const char **kinds,
                                      const char **stops)
{
    if (pid <= 0)
        return connection_fail(s->connection, -EINVAL, "This is no process id: %d", pid);
    return session_set_filter(s, pid, kinds ? (const char *const *)kinds : default_kinds,
                              stops ? (const char *const *)stops : no_kinds);
}
