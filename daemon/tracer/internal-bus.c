/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/proof.h"
#include "daemon/tracer/access.h"
#include "daemon/tracer/explain.h"
#include "daemon/tracer/grant-read.h"
#include "daemon/tracer/late.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/options.h"
#include "daemon/tracer/renew.h"
#include "daemon/tracer/stream.h"
#include "daemon/tracer/tracer.h"

/* What the broker asks of a tracer; docs/architecture.md tells the protocol. */

static int read_session(sd_bus_message *m, struct tracer *t, struct tracer_session **ret,
                        sd_bus_error *error)
{
    const char *id;
    int r = sd_bus_message_read(m, "s", &id);

    if (r < 0)
        return r;
    *ret = tracer_find_session(t, id);
    if (!*ret)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_SESSION,
                                 "This tracer knows no session %s", id);
    return 0;
}

static int set_strings(struct tracer_session *s, const char *name, const char *owner,
                       const char *lifetime)
{
    s->name = strdup(name);
    s->owner = strdup(owner);
    s->lifetime = strdup(lifetime);
    return s->name && s->owner && s->lifetime ? 0 : -ENOMEM;
}

static int method_open_session(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *id, *name, *owner, *lifetime;
    struct tracer *t = userdata;
    uint32_t max[QUOTA_KINDS];
    struct tracer_session *s;
    uint32_t uid;
    int queue, r;

    r = sd_bus_message_read(m, "susssbuuu", &id, &uid, &name, &owner, &lifetime, &queue,
                            &max[QUOTA_EVENTS], &max[QUOTA_BREAKPOINTS], &max[QUOTA_THREADS]);
    if (r < 0)
        return r;
    if (!ptraced_session_id_valid(id))
        return -EINVAL;
    if (!tracer_find_session(t, id)) {
        r = tracer_add_session(t, id, uid, queue, max, &s);
        if (r == -EUSERS)
            return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                                     "The limit TracerUsersMax is reached: no more than %u users "
                                     "whose sessions trace a tree of processes; try again when one "
                                     "of them has detached",
                                     QUOTA_USERS);
        if (r < 0)
            return r;
        r = set_strings(s, name, owner, lifetime);
        if (r < 0) {
            tracer_remove_session(t, s);
            return r;
        }
    }
    return sd_bus_reply_method_return(m, NULL);
}

/* The administrator has set others. */
static int method_set_maxima(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint32_t max[QUOTA_KINDS], uid;
    struct tracer *t = userdata;
    int r = sd_bus_message_read(m, "uuuu", &uid, &max[QUOTA_EVENTS], &max[QUOTA_BREAKPOINTS],
                                &max[QUOTA_THREADS]);

    if (r < 0)
        return r;
    quota_set_max(&t->quota, uid, max);
    return sd_bus_reply_method_return(m, NULL);
}

/* Of a caller that is to be authorised for what the session traces already. */
static int method_prove(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const struct attachment *a;
    struct tracer_session *s;
    int r, fd, observe;
    uint32_t pid;

    r = read_session(m, userdata, &s, error);
    if (r >= 0)
        r = sd_bus_message_read(m, "uhb", &pid, &fd, &observe);
    if (r < 0)
        return r;
    a = session_find(s->core, (pid_t)pid);
    if (a && renew_is_awaited(a))
        r = -EINPROGRESS;
    else
        r = a ? proof_check(a->process, fd, observe) : -ESRCH;
    return r < 0 ? explain_attach(error, r, (pid_t)pid, 0) : sd_bus_reply_method_return(m, NULL);
}

static int method_lose(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer *t = userdata;
    struct tracer_session *s;
    uint32_t pid;
    int r = read_session(m, t, &s, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "u", &pid);
    if (r < 0)
        return r;
    (void)trace_lose(t->trace, s->core, (pid_t)pid, LOST_LIMIT); /* or it has ended meanwhile */
    return sd_bus_reply_method_return(m, NULL);
}

static int method_close_session(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer_session *s;
    int r = read_session(m, userdata, &s, error);

    if (r < 0)
        return r;
    tracer_remove_session(userdata, s);
    return sd_bus_reply_method_return(m, NULL);
}

static void grant_unrefp(struct grant **g)
{
    grant_unref(*g);
}

static int attach(struct trace *t, struct session *s, const struct pidref *pidref, pid_t tid,
                  const struct attach_request *request, struct grant *grant)
{
    struct attach_options o = {
        .grant = grant,
        .filter_is_given = request->filter_is_given,
        .follow_threads = request->follow_threads,
        .follow_children = request->follow_children,
        .all_stop = request->all_stop,
        .stop = request->stop,
        .observe = request->observe,
        .proof = request->proof,
    };
    int r;

    o.filter = filter_new(&request->filter);
    if (!o.filter)
        return -ENOMEM;
    r = trace_attach(t, s, pidref, tid, &o, NULL);
    filter_unref(o.filter);
    return r;
}

static int method_attach(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct attach_request request = ATTACH_REQUEST_DEFAULT;
    _cleanup_(grant_unrefp) struct grant *grant = NULL;
    struct pidref pidref = PIDREF_NULL;
    struct tracer *t = userdata;
    struct tracer_session *s;
    uint32_t tid;
    int pidfd, r;

    r = read_session(m, t, &s, error);
    if (r < 0)
        return r;
    r = sd_bus_message_read(m, "hu", &pidfd, &tid);
    if (r >= 0)
        r = grant_read(m, &grant);
    if (r < 0)
        return r;
    request.follow_threads = tid == 0;
    r = options_read_attach(m, &request, error);
    if (r < 0)
        return r;
    if (request.observe && access_takes_control(&request.filter))
        return access_refuse(m, error);
    r = pidref_from_fd(pidfd, &pidref);
    if (r == -ESRCH)
        return sd_bus_error_set(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                "The process has ended already");
    if (r < 0)
        return r;
    if (t->releasing)
        r = -ESHUTDOWN;
    else
        r = attach(t->trace, s->core, &pidref, (pid_t)tid, &request, grant);
    if (r < 0)
        r = explain_attach(error, r, pidref.pid, (pid_t)tid);
    pidref_done(&pidref);
    if (r < 0) {
        t->check_idle = true;
        t->idle_told = false;
        return r;
    }
    return sd_bus_reply_method_return(m, "b", r > 0);
}

static int method_detach(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer *t = userdata;
    struct tracer_session *s;
    int r = read_session(m, t, &s, error);

    if (r < 0)
        return r;
    while (!TAILQ_EMPTY(&s->core->attachments))
        (void)trace_detach(t->trace, s->core,
                           TAILQ_FIRST(&s->core->attachments)->process->pidref.pid, 0);
    return sd_bus_reply_method_return(m, NULL);
}

/* The pids of a session's processes, to go through while they end. */
static int list_pids(const struct tracer_session *s, pid_t **ret, size_t *ret_n)
{
    const struct attachment *a;
    size_t n = 0;
    pid_t *pids;

    TAILQ_FOREACH(a, &s->core->attachments, by_session)
        n++;
    pids = calloc(n + 1, sizeof(*pids));
    if (!pids)
        return -ENOMEM;
    n = 0;
    TAILQ_FOREACH(a, &s->core->attachments, by_session)
        pids[n++] = a->process->pidref.pid;
    *ret = pids;
    *ret_n = n;
    return 0;
}

static int interrupt_process(struct trace *t, struct session *s, pid_t pid, const void *unused)
{
    return trace_interrupt(t, s, pid, 0);
}

static int continue_process(struct trace *t, struct session *s, pid_t pid, const void *options)
{
    return trace_continue(t, s, pid, 0, options);
}

static int for_each_process(struct tracer_session *s,
                            int (*act)(struct trace *, struct session *, pid_t, const void *),
                            const void *userdata)
{
    _cleanup_free_string_ pid_t *pids = NULL;
    size_t n;
    int r = list_pids(s, &pids, &n);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        (void)act(s->tracer->trace, s->core, pids[i], userdata); /* -EUNATCH: it ended meanwhile */
    return 0;
}

static int method_interrupt(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer_session *s;
    int r = read_session(m, userdata, &s, error);

    if (r >= 0)
        r = for_each_process(s, interrupt_process, NULL);
    return r < 0 ? r : late_answer(userdata, s, 0, m);
}

static int method_continue(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct continue_options options = CONTINUE_OPTIONS_DEFAULT;
    struct tracer_session *s;
    int r = read_session(m, userdata, &s, error);

    if (r >= 0)
        r = options_read_continue(m, false, &options, error);
    if (r >= 0)
        r = for_each_process(s, continue_process, &options);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_set_stream(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer *t = userdata;
    struct tracer_session *s;
    int on, r = read_session(m, t, &s, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "b", &on);
    if (r < 0)
        return r;
    event_queue_set_streaming(&s->core->queue, on);
    if (on && !s->has_credit) { /* from then on what is sent is given back, streamed still or not */
        s->credit = PTRACED_STREAM_WINDOW;
        s->has_credit = true;
    }
    t->output_pending = true;
    return sd_bus_reply_method_return(m, NULL);
}

static int method_credit(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer *t = userdata;
    struct tracer_session *s;
    uint32_t n;
    int r = read_session(m, t, &s, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "u", &n);
    if (r < 0)
        return r;
    s->credit += n;
    if (s->credit > PTRACED_STREAM_WINDOW)
        s->credit = PTRACED_STREAM_WINDOW;
    t->output_pending = true;
    return sd_bus_reply_method_return(m, NULL);
}

static int reply_events(sd_bus_message *m, sd_bus_message **ret)
{
    int r = sd_bus_message_new_method_return(m, ret);

    return r < 0 ? r
                 : sd_bus_message_open_container(*ret, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
}

static int send_reply(sd_bus_message *reply)
{
    int r = sd_bus_message_close_container(reply);

    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* Whether a thread that has no event kept may still get one. */
static int check_thread(struct tracer *t, const struct tracer_session *s, pid_t pid, pid_t tid,
                        sd_bus_error *error)
{
    char path[PTRACED_PATH_MAX];
    struct process_object object;
    struct tracee *tracee;

    if (tid == 0)
        return 0;
    return objects_find_thread(t, ptraced_path_thread(path, s->id, pid, tid), &object, &tracee,
                               error);
}

static int method_take_event(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    struct tracer *t = userdata;
    struct tracer_session *s;
    struct event *e;
    uint32_t pid, tid;
    int r = read_session(m, t, &s, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "uu", &pid, &tid);
    if (r < 0)
        return r;
    stream_tell_lost(t, s);
    e = event_queue_find(&s->core->queue, (pid_t)pid, (pid_t)tid);
    if (!e) {
        r = check_thread(t, s, (pid_t)pid, (pid_t)tid, error);
        if (r < 0)
            return r;
    }
    r = reply_events(m, &reply);
    if (r < 0)
        return r;
    if (e) {
        r = stream_append(reply, s, e);
        if (r < 0)
            return r;
        event_queue_mark_taken(&s->core->queue, e);
    } else
        stream_want_ready(s);
    return send_reply(reply);
}

static int append_held(sd_bus_message *reply, const struct tracer_session *s,
                       const struct attachment *a)
{
    const struct tracee *tracee;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        const struct engine *e = engine_find(tracee, a);

        if (e && e->held) {
            int r = stream_append(reply, s, e->held);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int method_list_stopped(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    const struct attachment *a;
    struct tracer_session *s;
    int r = read_session(m, userdata, &s, error);

    if (r >= 0)
        r = reply_events(m, &reply);
    if (r < 0)
        return r;
    TAILQ_FOREACH(a, &s->core->attachments, by_session) {
        r = append_held(reply, s, a);
        if (r < 0)
            return r;
    }
    return send_reply(reply);
}

/* The real one; (uid_t)-1: it has just ended. */
static uid_t uid_of(pid_t pid)
{
    struct proc_status status;

    return proc_read_status(pid, &status) < 0 ? (uid_t)-1 : status.uids[0];
}

static int append_process(sd_bus_message *reply, const struct tracer_session *s,
                          const struct attachment *a)
{
    pid_t pid = a->process->pidref.pid;
    _cleanup_free_string_ char *executable = tracer_read_executable(a->process);

    return sd_bus_message_append(reply, PTRACED_DESCRIBED_SIGNATURE, (uint32_t)pid,
                                 (uint32_t)a->n_engines, (int)a->observe,
                                 (int)grant_is_plain(a->grant, s->uid), (uint32_t)uid_of(pid),
                                 a->since_usec, executable ? executable : "");
}

static int append_session(sd_bus_message *reply, const struct tracer_session *s)
{
    const struct attachment *a;
    int r;

    r = sd_bus_message_open_container(reply, SD_BUS_TYPE_STRUCT,
                                      "susssba" PTRACED_DESCRIBED_SIGNATURE);
    if (r < 0)
        return r;
    r = sd_bus_message_append(reply, "susssb", s->id, (uint32_t)s->uid, s->name, s->owner,
                              s->lifetime, s->queue);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, PTRACED_DESCRIBED_SIGNATURE);
    if (r < 0)
        return r;
    TAILQ_FOREACH(a, &s->core->attachments, by_session) {
        r = append_process(reply, s, a);
        if (r < 0)
            return r;
    }
    r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int method_describe(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    const struct tracer_session *s;
    struct tracer *t = userdata;
    int r;

    r = sd_bus_message_new_method_return(m, &reply);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY,
                                      "(susssba" PTRACED_DESCRIBED_SIGNATURE ")");
    if (r < 0)
        return r;
    TAILQ_FOREACH(s, &t->sessions, sessions) {
        r = append_session(reply, s);
        if (r < 0)
            return r;
    }
    return send_reply(reply);
}

const sd_bus_vtable internal_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("OpenSession",
                            SD_BUS_ARGS("s", id, "u", uid, "s", name, "s", owner, "s", lifetime,
                                        "b", queue, "u", queue_max, "u", breakpoints_max, "u",
                                        threads_max),
                            SD_BUS_NO_RESULT, method_open_session, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetMaxima",
                            SD_BUS_ARGS("u", uid, "u", events, "u", breakpoints, "u", threads),
                            SD_BUS_NO_RESULT, method_set_maxima, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("CloseSession", SD_BUS_ARGS("s", id), SD_BUS_NO_RESULT,
                            method_close_session, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Prove", SD_BUS_ARGS("s", id, "u", pid, "h", proof, "b", observe),
                            SD_BUS_NO_RESULT, method_prove, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Lose", SD_BUS_ARGS("s", id, "u", pid), SD_BUS_NO_RESULT, method_lose,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS(
        "Renew",
        SD_BUS_ARGS("s", id, "u", pid, "u", number, "b", granted, PTRACED_GRANT_SIGNATURE, grant),
        SD_BUS_NO_RESULT, renew_method, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Attach",
                            SD_BUS_ARGS("s", id, "h", pidfd, "u", tid, PTRACED_GRANT_SIGNATURE,
                                        grant, "a{sv}", options),
                            SD_BUS_RESULT("b", added), method_attach, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Detach", SD_BUS_ARGS("s", id), SD_BUS_NO_RESULT, method_detach,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Interrupt", SD_BUS_ARGS("s", id), SD_BUS_NO_RESULT, method_interrupt,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Continue", SD_BUS_ARGS("s", id, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_continue, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetStream", SD_BUS_ARGS("s", id, "b", on), SD_BUS_NO_RESULT,
                            method_set_stream, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Credit", SD_BUS_ARGS("s", id, "u", n), SD_BUS_NO_RESULT, method_credit,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("TakeEvent", SD_BUS_ARGS("s", id, "u", pid, "u", tid),
                            SD_BUS_RESULT("a" PTRACED_EVENT_SIGNATURE, events), method_take_event,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListStopped", SD_BUS_ARGS("s", id),
                            SD_BUS_RESULT("a" PTRACED_EVENT_SIGNATURE, events), method_list_stopped,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS,
                            SD_BUS_RESULT("a(susssba" PTRACED_DESCRIBED_SIGNATURE ")", sessions),
                            method_describe, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("Events", SD_BUS_ARGS("s", id, "a" PTRACED_EVENT_SIGNATURE, events), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Ready", SD_BUS_ARGS("s", id), 0),
    SD_BUS_SIGNAL_WITH_ARGS("ProcessAdded",
                            SD_BUS_ARGS("s", id, "u", pid, "u", parent, "s", executable), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Executed", SD_BUS_ARGS("s", id, "u", pid, "s", executable), 0),
    SD_BUS_SIGNAL_WITH_ARGS("ProcessRemoved", SD_BUS_ARGS("s", id, "u", pid, "s", reason), 0),
    SD_BUS_SIGNAL_WITH_ARGS("ExecAsks", SD_BUS_ARGS("s", id, "u", pid, "u", number, "h", pidfd), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Lost", SD_BUS_ARGS("s", id, "t", total), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Idle", SD_BUS_NO_ARGS, 0),
    SD_BUS_VTABLE_END,
};
