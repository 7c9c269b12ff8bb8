/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

/* Requests to a session, a process or a thread: the same verb, on the object that pid and tid
 * name. */

struct target {
    const char *interface;
    bool thread;
    char path[PTRACED_PATH_MAX];
};

static int find_target(ptraced_session *s, pid_t pid, pid_t tid, struct target *ret)
{
    int r;

    r = connection_check(s->connection);
    if (r < 0)
        return r;
    if (pid < 0 || tid < 0 || (tid > 0 && pid == 0))
        return connection_fail(s->connection, -EINVAL,
                               "A process %d with a thread %d cannot be: give both for a thread, "
                               "and 0 for all.",
                               pid, tid);
    *ret = (struct target){.thread = tid > 0};
    if (tid > 0) {
        ret->interface = PTRACED_THREAD_INTERFACE;
        ptraced_path_thread(ret->path, s->id, pid, tid);
    } else if (pid > 0) {
        ret->interface = PTRACED_PROCESS_INTERFACE;
        ptraced_path_process(ret->path, s->id, pid);
    } else {
        ret->interface = PTRACED_SESSION_INTERFACE;
        ptraced_path_session(ret->path, s->id);
    }
    return 0;
}

/* A thread answers whether there was something to do; session and process answer nothing. */
static int send_to_target(ptraced_session *s, const struct target *target, sd_bus_message *m)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r, done = 0;

    r = connection_send(s->connection, m, &reply);
    if (r < 0 || !target->thread)
        return r;
    r = sd_bus_message_read(reply, "b", &done);
    if (r < 0)
        return connection_fail(s->connection, r, "The answer about the thread cannot be read.");
    return done;
}

static int control(ptraced_session *s, pid_t pid, pid_t tid, const char *verb,
                   const char *session_verb, bool has_options)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct target target;
    int r;

    r = find_target(s, pid, tid, &target);
    if (r < 0)
        return r;
    r = connection_new_call(s->connection, target.path, target.interface,
                            pid > 0 ? verb : session_verb, &m);
    if (r < 0)
        return r;
    if (has_options) {
        r = sd_bus_message_append(m, "a{sv}", 0);
        if (r < 0)
            return connection_fail(s->connection, r, "Failed to make a request.");
    }
    return send_to_target(s, &target, m);
}

_public_ int ptraced_interrupt(ptraced_session *s, pid_t pid, pid_t tid)
{
    return control(s, pid, tid, "Interrupt", "Interrupt", false);
}

_public_ int ptraced_continue(ptraced_session *s, pid_t pid, pid_t tid)
{
    return control(s, pid, tid, "Continue", "Continue", true);
}

_public_ int ptraced_detach(ptraced_session *s, pid_t pid, pid_t tid)
{
    return control(s, pid, tid, "Detach", "DetachAll", false);
}

_public_ int ptraced_signal(ptraced_session *s, pid_t pid, int signo)
{
    struct target target;
    int r;

    r = find_target(s, pid, 0, &target);
    if (r < 0)
        return r;
    if (pid == 0)
        return connection_fail(s->connection, -EINVAL, "A signal goes to one process.");
    /* Kill works in every state. */
    if (signo == SIGKILL)
        return connection_call(s->connection, target.path, target.interface, "Kill", NULL, "");
    return connection_call(s->connection, target.path, target.interface, "Signal", NULL, "i",
                           signo);
}
