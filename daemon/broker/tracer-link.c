/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "bus-api/errors.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/events.h"
#include "daemon/broker/flight.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/renew.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

#define BEHIND_MESSAGES 256u

#define GONE_TEXT "The tracer%s has ended; attach again to go on"

static struct tracer *tracer_of(struct wire *w)
{
    return LIST_ITEM(w, struct tracer, wire);
}

static void tracer_no_answer(struct wire *w, bool timed_out, pid_t about, sd_bus_error *error)
{
    struct tracer *t = tracer_of(w);
    const struct tracee *first = LIST_FIRST(&t->tracees, struct tracee, tracees);
    pid_t pid = about ? about : first ? first->pid : 0;
    char whose[64] = "";

    if (pid)
        snprintf(whose, sizeof(whose), " of process %d", pid);
    t->overdue |= timed_out;
    if (timed_out)
        sd_bus_error_setf(error, PTRACED_ERROR_TIMED_OUT,
                          "The tracer%s does not answer; what it traces may hold it up. Try again, "
                          "or close the session, which ends such a tracer",
                          whose);
    else
        sd_bus_error_setf(error, PTRACED_ERROR_TRACER_GONE, GONE_TEXT, whose);
}

void tracer_explain_silence(struct tracer *t, pid_t about, sd_bus_error *error)
{
    tracer_no_answer(&t->wire, true, about, error);
}

static uint64_t count_unsent(const struct tracer *t)
{
    uint64_t unsent = 0;

    if (t->wire.bus)
        (void)sd_bus_get_n_queued_write(t->wire.bus, &unsent);
    return unsent;
}

/* What has been sent may lie in the socket, which takes some megabytes. */
bool tracer_has_untaken(const struct tracer *t)
{
    int n_bytes = 0;

    return count_unsent(t) > 0 ||
           (t->wire.bus && ioctl(sd_bus_get_fd(t->wire.bus), SIOCOUTQ, &n_bytes) == 0 &&
            n_bytes > 0);
}

bool tracer_is_behind(const struct tracer *t)
{
    return count_unsent(t) >= BEHIND_MESSAGES;
}

int tracer_check_takes(struct tracer *t, pid_t about, sd_bus_error *error)
{
    t->overdue &= count_unsent(t) > 0;
    if (!t->overdue)
        return 0;
    tracer_no_answer(&t->wire, true, about, error);
    return -ETIMEDOUT;
}

int tracer_explain(int r, pid_t pid, sd_bus_error *error)
{
    char whose[64];

    if (r != -ENOTCONN)
        return r;
    snprintf(whose, sizeof(whose), " of process %d", pid);
    return sd_bus_error_setf(error, PTRACED_ERROR_TRACER_GONE, GONE_TEXT, whose);
}

static void tracer_answered(struct wire *w, uint64_t number)
{
    flights_end(tracer_of(w), number);
}

static void tracer_settled(struct wire *w)
{
    tracer_settle(tracer_of(w));
}

void tracer_settle(struct tracer *t)
{
    bool needed = t->used && !t->idle;

    if (t->wire.n_calls == 0 && !needed)
        tracer_free(t);
}

static uint64_t now_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The tracer takes its count of events with it; ours goes on from the last that was seen. */
static void post_lost(const struct attachment *a)
{
    struct ptraced_event_record e = {
        .serial = a->serial + 1,
        .usec = now_usec(),
        .pid = a->tracee->pid,
        .tid = a->tracee->pid,
        .kind = "lost",
    };
    int r;

    strcpy(e.session, a->session->id);
    ptraced_event_add_b(&e, "process", true);
    r = ptraced_event_add_s(&e, "reason", "tracer");
    if (r < 0)
        log_warning(&a->session->broker->log, "Out of memory, not telling that process %d is lost",
                    e.pid);
    else
        events_post(a->session, &e);
    ptraced_event_done(&e);
}

static void tracer_gone(struct wire *w)
{
    struct tracer *t = tracer_of(w);

    if (!list_empty(&t->tracees))
        log_warning(&t->broker->log, "Tracer %d has died; what it traced runs on", t->pid);
    LIST_FOREACH(struct share, share, &t->shares, of_tracer)
        line_share_gone(share);
    LIST_FOREACH(struct tracee, tracee, &t->tracees, tracees)
        LIST_FOREACH(struct attachment, a, &tracee->attachments, of_tracee)
            post_lost(a);
    t->has_died = true;
    tracer_free(t);
}

static const struct wire_ops tracer_ops = {
    .no_answer = tracer_no_answer,
    .answered = tracer_answered,
    .settled = tracer_settled,
    .gone = tracer_gone,
};

static bool is_one_too_many(const struct session *s)
{
    return session_count_tracees(s->broker, s->uid) > limit_value(LIMIT_TRACEES);
}

static void on_lose_answered(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct broker *b = userdata;

    if (error)
        log_debug(&b->log, "Letting a followed child go failed, ignoring: %s", error->message);
}

/* A child that is followed attaches by itself. */
static int lose(struct tracer *t, const struct session *s, pid_t pid)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r = tracer_new_call(t, "Lose", &m);

    if (r >= 0)
        r = sd_bus_message_append(m, "su", s->id, (uint32_t)pid);
    return r < 0 ? r : tracer_call(t, m, WIRE_NO_TIMEOUT, pid, on_lose_answered, t->broker);
}

static int on_process_added(struct tracer *t, struct session *s, sd_bus_message *m)
{
    const struct attachment *from;
    const struct attach *by;
    const char *executable;
    struct attachment *a;
    uint32_t pid, parent;
    int r;

    r = sd_bus_message_read(m, "uus", &pid, &parent, &executable);
    if (r < 0)
        return r;
    r = attachment_add(s, t, (pid_t)pid);
    if (r <= 0)
        return r;
    a = attachment_find(s, (pid_t)pid, t);
    (void)attachment_set_executable(a, executable);
    by = parent == 0 ? attach_find(s, (pid_t)pid) : NULL;
    from = parent > 0 ? attachment_find(s, (pid_t)parent, t) : NULL;
    if (from) {
        a->observe = from->observe;
        a->plain = from->plain;
        a->asks_anew = from->asks_anew;
        a->asks_own = from->asks_own;
        a->root = from->root;
    }
    audit_attached(a, by);
    if (by && (by->caller || s->creator)) /* whose it is, though it has been told of a time-out */
        return clearance_give(by->caller ? by->caller : s->creator, a, by->grant, by->wish.observe);
    r = from ? clearances_inherit(a, from) : 0;
    return parent > 0 && is_one_too_many(s) ? lose(t, s, a->tracee->pid) : r;
}

static int on_executed(struct tracer *t, struct session *s, sd_bus_message *m)
{
    const char *executable;
    struct attachment *a;
    bool is_other;
    uint32_t pid;
    int r;

    r = sd_bus_message_read(m, "us", &pid, &executable);
    if (r < 0)
        return r;
    a = attachment_find(s, (pid_t)pid, t);
    if (!a)
        return 0;
    is_other = strcmp(a->executable ? a->executable : "", executable) != 0;
    a->n_executed += is_other;
    if (!a->asks_anew && (is_other || *executable == '\0'))
        clearances_end_with_program(a);
    return attachment_set_executable(a, executable);
}

static int on_process_removed(struct tracer *t, struct session *s, sd_bus_message *m)
{
    struct share *share = share_find(s, t);
    struct attachment *a;
    const char *why;
    uint32_t pid;
    int r;

    r = sd_bus_message_read(m, "us", &pid, &why);
    if (r < 0)
        return r;
    a = attachment_find(s, (pid_t)pid, t);
    if (a)
        attachment_end(a, why);
    if (share) /* its last events may be queued, and Ready is yet to come */
        share->dry = false;
    t->left[t->n_left++ % TRACER_LEFT_MAX] = (pid_t)pid;
    events_process_removed(s, (pid_t)pid);
    return 0;
}

static int on_lost(struct tracer *t, struct session *s, sd_bus_message *m)
{
    struct share *share = share_find(s, t);
    uint64_t total;
    int r;

    r = sd_bus_message_read(m, "t", &total);
    if (r >= 0 && share)
        share->lost = total;
    return r;
}

static int on_ready(struct tracer *t, struct session *s, sd_bus_message *m)
{
    events_ready(s, t);
    return 0;
}

static int on_events(struct tracer *t, struct session *s, sd_bus_message *m)
{
    struct share *share = share_find(s, t);

    return share ? line_add(s, share, m) : 0;
}

static const struct {
    const char *member;
    int (*handler)(struct tracer *t, struct session *s, sd_bus_message *m);
} session_signals[] = {
    {"Events", on_events},
    {"Ready", on_ready},
    {"ProcessAdded", on_process_added},
    {"Executed", on_executed},
    {"ProcessRemoved", on_process_removed},
    {"Lost", on_lost},
    {"ExecAsks", renew_on_exec_asks},
};

static int handle_signal(struct tracer *t, sd_bus_message *m)
{
    const char *member = sd_bus_message_get_member(m), *id;
    struct session *s;
    int r;

    for (size_t i = 0; i < ELEMENTSOF(session_signals); i++) {
        if (strcmp(session_signals[i].member, member) != 0)
            continue;
        r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
            return r;
        /* It may have been closed while the signal was on its way. */
        s = session_find(t->broker, id);
        return s ? session_signals[i].handler(t, s, m) : 0;
    }
    return 0;
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct tracer *t = userdata;
    int r;

    if (sd_bus_message_is_signal(m, PTRACED_TRACER_INTERFACE, "Idle")) {
        t->idle = true;
        memset(t->left, 0, sizeof(t->left));
        tracer_settle(t);
        return 1;
    }
    /* Whichever session it is for: even one that has just been closed keeps the tracer busy. */
    if (sd_bus_message_is_signal(m, PTRACED_TRACER_INTERFACE, "ProcessAdded")) {
        t->used = true;
        t->idle = false;
    }
    r = handle_signal(t, m);
    if (r < 0)
        log_warning(&t->broker->log, "Signal %s of tracer %d failed, ignoring: %s",
                    sd_bus_message_get_member(m), t->pid, strerror(-r));
    return 1;
}

int tracer_new(struct broker *b, pid_t pid, int fd, struct tracer **ret)
{
    struct tracer *t;
    int r;

    t = calloc(1, sizeof(*t));
    if (!t) {
        close(fd);
        return -ENOMEM;
    }
    t->broker = b;
    t->pid = pid;
    list_init(&t->shares);
    list_init(&t->tracees);
    list_init(&t->flights);

    r = wire_open(&t->wire, b->event, fd, &tracer_ops);
    if (r < 0) {
        free(t);
        return r;
    }
    list_append(&b->tracers, &t->tracers);
    r = sd_bus_match_signal(t->wire.bus, NULL, NULL, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE,
                            NULL, on_signal, t);
    if (r < 0) {
        tracer_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

/* The last attachment takes its tracee with it; one that is left is of requests that are about to
 * fail, and gives them time to say so. */
static void drop_tracees(struct tracer *t, const char *why)
{
    struct tracee *tracee;

    while ((tracee = LIST_FIRST(&t->tracees, struct tracee, tracees))) {
        list_remove(&tracee->tracees);
        tracee->n_requests++;
        while (!list_empty(&tracee->attachments))
            attachment_end(LIST_FIRST(&tracee->attachments, struct attachment, of_tracee), why);
        tracee->n_requests--;
        tracee->tracer = NULL;
        tracee_release(tracee);
    }
}

void tracer_free(struct tracer *t)
{
    struct share *share;

    list_remove(&t->tracers);
    wire_close(&t->wire);
    flights_end(t, UINT64_MAX);
    drop_tracees(t, t->has_died ? "tracer" : NULL);
    while ((share = LIST_FIRST(&t->shares, struct share, of_tracer))) {
        struct session *s = share->session;

        share_free(share);
        events_share_changed(s);
    }
    free(t);
}

struct tracer *tracer_find(const struct broker *b, pid_t pid)
{
    LIST_FOREACH(struct tracer, t, &b->tracers, tracers)
        if (t->pid == pid)
            return t;
    return NULL;
}

struct tracer *tracer_find_left(const struct broker *b, pid_t pid)
{
    LIST_FOREACH(struct tracer, t, &b->tracers, tracers)
        for (size_t i = 0; i < TRACER_LEFT_MAX; i++)
            if (t->left[i] == pid)
                return t;
    return NULL;
}

int tracer_new_call(struct tracer *t, const char *member, sd_bus_message **ret)
{
    if (!t->wire.bus)
        return -ENOTCONN;
    return sd_bus_message_new_method_call(t->wire.bus, ret, NULL, PTRACED_TRACER_PATH,
                                          PTRACED_TRACER_INTERFACE, member);
}

int tracer_call(struct tracer *t, sd_bus_message *m, uint64_t timeout_usec, pid_t about,
                wire_reply_t callback, void *userdata)
{
    return wire_call(&t->wire, m, timeout_usec, about, callback, userdata);
}
