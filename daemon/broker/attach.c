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
#include "daemon/broker/limits.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

#define TIMER_ACCURACY_USEC 1000

/* ---- The request, its answer and its end ---- */

struct attach *attach_find(const struct session *s, pid_t pid)
{
    LIST_FOREACH(struct attach, a, &s->broker->attaches, attaches)
        if (a->session == s && a->target.pid == pid && a->is_sent)
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

void attach_end(struct attach *a)
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
        attach_end(a);
    else
        stop_waiting(a);
}

static void attach_freep(struct attach **a)
{
    if (*a)
        attach_end(*a);
}

/* Of a call that was put by for a process that has ended meanwhile: it need not be about that one
 * alone. */
static bool can_do_without(const struct attach *a)
{
    const struct attachment *attachment = attachment_find(a->session, a->target.pid, NULL);

    return a->wish.replays && !a->answered && !a->session->closed && a->target.pid > 0 &&
           (!attachment || attachment->id != a->wish.attachment) &&
           sd_bus_enqueue_for_read(a->broker->bus, a->call) >= 0;
}

void attach_fail(struct attach *a, const sd_bus_error *error)
{
    if (can_do_without(a)) {
        attach_end(a);
        return;
    }
    if (!a->answered) {
        audit_failed(a->caller, a->call, -ECANCELED, error);
        sd_bus_reply_method_error(a->call, error);
    }
    attach_end(a);
}

void attach_fail_with(struct attach *a, int r, sd_bus_error *error)
{
    if (!sd_bus_error_is_set(error))
        sd_bus_error_set_errno(error, r);
    attach_fail(a, error);
}

void attach_fail_closed(struct attach *a)
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

/* ---- The tracer ---- */

static int take_tracer(const struct attach *a, struct tracee *tracee, sd_bus_error *error);

/* Another request for the same process may have been made meanwhile: all go the same way. */
static void tracer_taken(struct tracee *tracee, struct tracer *t)
{
    struct attach *a;

    tracee->n_requests++;
    tracee_set_tracer(tracee, t);
    while ((a = LIST_FIRST(&tracee->parked, struct attach, of_tracee))) {
        list_remove(&a->of_tracee);
        attach_open(a);
    }
    tracee->n_requests--;
    tracee_release(tracee);
    tracer_settle(t); /* all may have been closed */
}

static void fail_parked(struct attach *a, const sd_bus_error *error)
{
    list_remove(&a->of_tracee);
    attach_fail(a, error);
}

/* One user's limit is not another's: the next one asks for itself. */
static void tracer_not_taken(struct tracee *tracee, const sd_bus_error *error)
{
    struct attach *a = LIST_FIRST(&tracee->parked, struct attach, of_tracee);
    uid_t uid = a ? a->session->uid : 0;

    tracee->n_requests++;
    LIST_FOREACH(struct attach, one, &tracee->parked, of_tracee)
        if (one->session->uid == uid)
            fail_parked(one, error);
    while ((a = LIST_FIRST(&tracee->parked, struct attach, of_tracee))) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        int r = a->answered ? -ECANCELED : take_tracer(a, tracee, &failure);

        if (r >= 0)
            break;
        sd_bus_error_set_errno(&failure, r);
        fail_parked(a, &failure);
    }
    tracee->n_requests--;
    tracee_release(tracee);
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
    if (t)
        tracer_taken(tracee, t);
    else
        tracer_not_taken(tracee, error ? error : &failure);
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
        attach_open(a);
        return 0;
    }
    list_append(&tracee->parked, &a->of_tracee);
    return is_new ? take_tracer(a, tracee, error) : 0;
}

/* ---- The target ---- */

/* Whether it has ended, and who traces it: /proc need not tell that of another user's process. */
static bool may_be_told(const struct attach *a)
{
    return a->grant != ATTACH_NOTHING || auth_is_unlimited(a->caller) ||
           a->target.uids[0] == a->caller->uid;
}

static int use_target(struct attach *a, sd_bus_message *reply, sd_bus_error *error)
{
    struct tracer *current;
    bool told;
    int r;

    target_done(&a->target);
    r = target_read(reply, &a->target);
    if (r < 0)
        return r;
    a->target.own |= a->target.pid == getpid();
    current = a->target.tracer ? tracer_find(a->broker, a->target.tracer) : NULL;
    told = may_be_told(a);
    r = told ? target_check(&a->target, current, error) : target_check_kind(&a->target, error);
    if (r < 0)
        return r;
    r = attach_authorize(a, error);
    if (r <= 0)
        return r;
    r = told ? 0 : target_check(&a->target, current, error);
    if (r < 0)
        return r;
    if (a->wish.joins)
        return attach_join(a, error);
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
        attach_end(a);
        return r;
    }
    return 1;
}
