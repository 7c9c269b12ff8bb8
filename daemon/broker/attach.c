/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/events.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

#define TIMER_ACCURACY_USEC 1000

/* ---- The request, its answer and its end ---- */

struct attach *attach_find(const struct session *s, pid_t pid)
{
    LIST_FOREACH(struct attach, a, &s->broker->attaches, attaches)
        if (a->session == s && a->target.pid == pid && a->at_tracer)
            return a;
    return NULL;
}

/* Nobody hears of it any more, but the chain goes on. */
static void stop_waiting(struct attach *a)
{
    a->answered = true;
    a->timer = sd_event_source_disable_unref(a->timer);
    list_remove(&a->of_caller);
    a->caller = NULL;
}

static void attach_free(struct attach *a)
{
    stop_waiting(a);
    a->check = polkit_cancel(a->check);
    target_done(&a->target);
    target_done(&a->asked);
    list_remove(&a->attaches);
    list_remove(&a->of_tracee);
    if (a->tracee) {
        a->tracee->n_requests--;
        tracee_release(a->tracee);
    }
    if (a->pidfd >= 0)
        close(a->pidfd);
    session_unref(a->session);
    sd_bus_message_unref(a->call);
    free(a);
}

void attach_abandon(struct attach *a)
{
    if (a->check) /* which is all that it waits for */
        attach_free(a);
    else
        stop_waiting(a);
}

static void attach_freep(struct attach **a)
{
    if (*a)
        attach_free(*a);
}

void attach_fail(struct attach *a, const sd_bus_error *error)
{
    if (!a->answered)
        sd_bus_reply_method_error(a->call, error);
    attach_free(a);
}

/* `error` may have been written or not. */
static void attach_fail_with(struct attach *a, int r, sd_bus_error *error)
{
    if (!sd_bus_error_is_set(error))
        sd_bus_error_set_errno(error, r);
    attach_fail(a, error);
}

static void attach_fail_errno(struct attach *a, int r)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    r = tracer_explain(r, a->target.pid, &error);
    attach_fail_with(a, r, &error);
}

static void attach_fail_closed(struct attach *a)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    sd_bus_error_setf(&error, PTRACED_ERROR_NO_SUCH_SESSION, "Session %s has been closed",
                      a->session->id);
    attach_fail(a, &error);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct attach *a = userdata;

    if (a->at_tracer)
        sd_bus_reply_method_errorf(
            a->call, PTRACED_ERROR_TIMED_OUT,
            "The tracer of process %d does not answer; what it traces may hold it up. If it can "
            "attach later, it will detach again; closing the session ends it",
            a->target.pid);
    else
        sd_bus_reply_method_errorf(a->call, PTRACED_ERROR_TIMED_OUT,
                                   "The keeper of the tracers does not answer; try again");
    stop_waiting(a);
    return 0;
}

void attach_pause_timer(struct attach *a)
{
    (void)sd_event_source_set_enabled(a->timer, SD_EVENT_OFF);
}

void attach_restart_timer(struct attach *a)
{
    (void)sd_event_source_set_time_relative(a->timer, a->broker->tracer_timeout_usec);
    (void)sd_event_source_set_enabled(a->timer, SD_EVENT_ONESHOT);
}

static int attach_new(struct session *s, struct caller *c, sd_bus_message *call, int pidfd,
                      struct attach **ret)
{
    _cleanup_(attach_freep) struct attach *a = NULL;
    struct broker *b = s->broker;
    int r;

    a = calloc(1, sizeof(*a));
    if (!a) {
        if (pidfd >= 0)
            close(pidfd);
        return -ENOMEM;
    }
    a->broker = b;
    a->session = session_ref(s);
    a->caller = c;
    a->call = sd_bus_message_ref(call);
    a->pidfd = pidfd;
    list_append(&b->attaches, &a->attaches);
    list_append(&c->attaches, &a->of_caller);

    r = sd_event_add_time_relative(b->event, &a->timer, CLOCK_MONOTONIC, b->tracer_timeout_usec,
                                   TIMER_ACCURACY_USEC, on_timer, a);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(a);
    return 0;
}

/* ---- Last: OpenSession and Attach ---- */

static void on_undone(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct broker *b = userdata;

    if (error)
        log_debug(&b->log, "Detaching for a caller that has left failed, ignoring: %s",
                  error->message);
}

/* The caller has left, or has been told that it failed. */
static int undo(struct attach *a, struct tracer *t)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    char path[PTRACED_PATH_MAX];
    int r;

    if (a->tid)
        ptraced_path_thread(path, a->session->id, a->target.pid, a->tid);
    else
        ptraced_path_process(path, a->session->id, a->target.pid);
    r = sd_bus_message_new_method_call(
        t->wire.bus, &m, NULL, path, a->tid ? PTRACED_THREAD_INTERFACE : PTRACED_PROCESS_INTERFACE,
        "Detach");
    if (r < 0)
        return r;
    return tracer_call(t, m, WIRE_NO_TIMEOUT, a->target.pid, on_undone, a->broker);
}

static int reply_attached(struct attach *a, bool added)
{
    char path[PTRACED_PATH_MAX];

    if (a->tid)
        return sd_bus_reply_method_return(
            a->call, "ob", ptraced_path_thread(path, a->session->id, a->target.pid, a->tid),
            (int)added);
    return sd_bus_reply_method_return(a->call, "o",
                                      ptraced_path_process(path, a->session->id, a->target.pid));
}

/* Another request of the session for the same process has followed ours to the tracer, and is about
 * to be told that it is attached. */
static bool is_wanted_by_another(const struct attach *a)
{
    LIST_FOREACH(struct attach, other, &a->broker->attaches, attaches)
        if (other->session == a->session && other->tracee == a->tracee && !other->answered)
            return true;
    return false;
}

/* A session that observed the process has control of it from now on. */
static void note_control(struct attach *a)
{
    struct attachment *attachment = attachment_find(a->session, a->target.pid, a->tracee->tracer);

    if (attachment && attachment->observe)
        audit_attached(attachment, a);
}

static void on_attached(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct attach *a = userdata;
    int r, added;

    if (error) {
        if (!a->answered && !auth_is_unlimited(a->caller) &&
            sd_bus_error_has_name(error, PTRACED_ERROR_NOT_PERMITTED))
            audit_refused(a->caller, a, "Attach");
        attach_fail(a, error);
        return;
    }
    r = sd_bus_message_read(reply, "b", &added);
    if (r < 0) {
        attach_fail_errno(a, r);
        return;
    }
    if (a->session->closed) { /* CloseSession has detached it */
        attach_fail_closed(a);
        return;
    }

    if (!a->wish.observe)
        note_control(a);
    if (!a->answered)
        r = reply_attached(a, added);
    else if (added && a->tracee->tracer && !is_wanted_by_another(a))
        r = undo(a, a->tracee->tracer);
    if (r < 0)
        log_warning(&a->broker->log, "Cannot end a request to attach to process %d: %s",
                    a->target.pid, strerror(-r));
    attach_free(a);
}

static int send_attach(struct attach *a)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    const char *signature = sd_bus_message_get_signature(a->call, true);
    const char first[] = {signature[0], '\0'};
    struct tracer *t = a->tracee->tracer;
    int r;

    r = tracer_new_call(t, "Attach", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "shu", a->session->id, a->pidfd, (uint32_t)a->tid);
    if (r >= 0)
        r = grant_append(m, a);
    if (r < 0)
        return r;
    /* The options are the call's second argument. */
    r = sd_bus_message_rewind(a->call, true);
    if (r < 0)
        return r;
    r = sd_bus_message_skip(a->call, first);
    if (r < 0)
        return r;
    r = sd_bus_message_copy(m, a->call, false);
    if (r < 0)
        return r;
    return tracer_call(t, m, WIRE_NO_TIMEOUT, a->target.pid, on_attached, a);
}

static void on_opened(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct attach *a = userdata;
    struct share *share;
    int r;

    if (error) {
        attach_fail(a, error);
        return;
    }
    share = a->session->closed ? NULL : share_find(a->session, a->tracee->tracer);
    if (!share) {
        attach_fail_closed(a);
        return;
    }
    if (!share->open) {
        share->open = true;
        events_share_changed(a->session);
    }
    /* Ahead of the attach, so that no event is missed. */
    share_update_stream(share);
    if (a->answered) {
        attach_free(a);
        return;
    }
    r = send_attach(a);
    if (r < 0)
        attach_fail_errno(a, r);
}

static int send_open(struct attach *a)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    const struct session *s = a->session;
    struct tracer *t = a->tracee->tracer;
    struct share *share;
    int r;

    r = tracer_new_call(t, "OpenSession", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "susssb", s->id, (uint32_t)s->uid, s->name, s->owner,
                              s->persistent ? PTRACED_LIFETIME_PERSISTENT : PTRACED_LIFETIME_CLIENT,
                              (int)s->queue);
    if (r < 0)
        return r;
    r = share_get(a->session, t, &share);
    if (r < 0)
        return r;
    return tracer_call(t, m, WIRE_NO_TIMEOUT, a->target.pid, on_opened, a);
}

static void open_session(struct attach *a)
{
    int r;

    a->at_tracer = true;
    if (a->session->closed) {
        attach_fail_closed(a);
        return;
    }
    r = send_open(a);
    if (r < 0)
        attach_fail_errno(a, r);
}

/* ---- The tracer ---- */

/* Another request for the same process may have been made meanwhile: all go the same way. */
static void tracer_taken(struct tracee *tracee, struct tracer *t, const sd_bus_error *error)
{
    struct attach *a;

    tracee->n_requests++;
    if (t)
        tracee_set_tracer(tracee, t);
    while ((a = LIST_FIRST(&tracee->parked, struct attach, of_tracee))) {
        list_remove(&a->of_tracee);
        if (t)
            open_session(a);
        else
            attach_fail(a, error);
    }
    tracee->n_requests--;
    tracee_release(tracee);
    if (t)
        tracer_settle(t); /* all may have been closed */
}

static int read_tracer(struct broker *b, sd_bus_message *reply, struct tracer **ret)
{
    uint32_t pid;
    int r, fd;

    r = sd_bus_message_read(reply, "uh", &pid, &fd);
    if (r < 0)
        return r;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    return tracer_new(b, (pid_t)pid, fd, ret);
}

static void on_tracer(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
    struct tracee *tracee = userdata;
    struct tracer *t = NULL;
    int r;

    if (reply) {
        r = read_tracer(tracee->broker, reply, &t);
        if (r < 0)
            sd_bus_error_set_errnof(&failure, r, "Cannot talk to a new tracer: %s", strerror(-r));
    }
    tracer_taken(tracee, t, error ? error : &failure);
}

static int take_tracer(const struct attach *a, struct tracee *tracee, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct keeper_link *k = &tracee->broker->keeper;
    unsigned max = auth_is_unlimited(a->caller) ? 0 : limit_value(LIMIT_TRACERS);
    int r;

    r = keeper_link_new_call(k, "TakeTracer", &m, error);
    if (r >= 0)
        r = sd_bus_message_append(m, "uu", (uint32_t)a->session->uid, max);
    if (r < 0)
        return r;
    return keeper_link_call(k, m, on_tracer, tracee, error);
}

static int choose_tracer(struct attach *a, struct tracer *current, sd_bus_error *error)
{
    struct tracee *tracee = tracee_find(a->broker, a->target.pid);
    bool is_new = !tracee;
    int r;

    if (is_new) {
        r = tracee_new(a->broker, a->target.pid, current, &tracee);
        if (r < 0)
            return r;
    }
    a->tracee = tracee;
    tracee->n_requests++;

    if (tracee->tracer) {
        open_session(a);
        return 0;
    }
    list_append(&tracee->parked, &a->of_tracee);
    return is_new ? take_tracer(a, tracee, error) : 0;
}

/* ---- The target ---- */

static int use_target(struct attach *a, sd_bus_message *reply, sd_bus_error *error)
{
    struct tracer *current;
    int r;

    target_done(&a->target);
    r = target_read(reply, &a->target);
    if (r < 0)
        return r;
    a->target.own |= a->target.pid == getpid();
    current = a->target.tracer ? tracer_find(a->broker, a->target.tracer) : NULL;
    r = target_check(&a->target, current, error);
    if (r < 0)
        return r;
    r = attach_authorize(a, error);
    if (r <= 0)
        return r;
    if (!current)
        current = tracer_find_left(a->broker, a->target.pid);
    return choose_tracer(a, current, error);
}

static void on_inspected(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_bus_error_ sd_bus_error refusal = SD_BUS_ERROR_NULL;
    struct attach *a = userdata;
    int r;

    if (error) {
        attach_fail(a, error);
        return;
    }
    if (a->answered || a->session->closed) {
        attach_fail_closed(a);
        return;
    }
    r = use_target(a, reply, &refusal);
    if (r < 0)
        attach_fail_with(a, r, &refusal);
}

static int inspect(struct attach *a, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct keeper_link *k = &a->broker->keeper;
    int r;

    r = keeper_link_new_call(k, "Inspect", &m, error);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "hu", a->pidfd, (uint32_t)a->tid);
    if (r < 0)
        return r;
    return keeper_link_call(k, m, on_inspected, a, error);
}

void attach_go_on(struct attach *a)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    int r = inspect(a, &error);

    if (r < 0)
        attach_fail_with(a, r, &error);
}

static int take_pidfd(struct attach *a, sd_bus_message *reply)
{
    int r, fd;

    r = sd_bus_message_read(reply, "h", &fd);
    if (r < 0)
        return r;
    a->pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return a->pidfd < 0 ? -errno : 0;
}

static void on_thread_found(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_bus_error_ sd_bus_error refusal = SD_BUS_ERROR_NULL;
    struct attach *a = userdata;
    int r;

    if (error) {
        attach_fail(a, error);
        return;
    }
    r = take_pidfd(a, reply);
    if (r >= 0)
        r = inspect(a, &refusal);
    if (r < 0)
        attach_fail_with(a, r, &refusal);
}

static int find_thread(struct attach *a, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct keeper_link *k = &a->broker->keeper;
    int r;

    r = keeper_link_new_call(k, "FindThread", &m, error);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "u", (uint32_t)a->tid);
    if (r < 0)
        return r;
    return keeper_link_call(k, m, on_thread_found, a, error);
}

/* ---- The beginning ---- */

int attach_begin(struct session *s, struct caller *c, sd_bus_message *call, int pidfd, pid_t tid,
                 const struct attach_wish *wish, sd_bus_error *error)
{
    struct attach *a;
    int r;

    r = attach_new(s, c, call, pidfd, &a);
    if (r < 0)
        return r;
    a->tid = tid;
    a->wish = *wish;
    r = pidfd >= 0 ? inspect(a, error) : find_thread(a, error);
    if (r < 0) {
        attach_free(a);
        return r;
    }
    return 1;
}
