/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "bus-api/errors.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/events.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/stash.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

#define TIMER_ACCURACY_USEC 1000

/* A TakeEvent under way. The tracer outlives it. */
struct ask {
    struct list of_waiter;
    struct session *session;
    struct tracer *tracer;
    struct waiter *waiter; /* NULL: for whoever waits, or the waiter has gone */
};

static struct ask *ask_free(struct ask *a)
{
    if (!a)
        return NULL;
    list_remove(&a->of_waiter);
    session_unref(a->session);
    free(a);
    return NULL;
}

static void ask_freep(struct ask **a)
{
    ask_free(*a);
}

void waiter_free(struct waiter *w)
{
    while (!list_empty(&w->asks)) {
        struct ask *a = LIST_FIRST(&w->asks, struct ask, of_waiter);

        list_remove(&a->of_waiter);
        a->waiter = NULL;
    }
    if (w->of_session.next) {
        list_remove(&w->of_session);
        w->session->n_waiters--;
    }
    list_remove(&w->of_caller);
    sd_event_source_disable_unref(w->timer);
    sd_bus_error_free(&w->refusal);
    sd_bus_message_unref(w->call);
    free(w);
}

static void waiter_freep(struct waiter **w)
{
    if (*w)
        waiter_free(*w);
}

static void refuse(struct waiter *w, const sd_bus_error *error)
{
    sd_bus_reply_method_error(w->call, error);
    waiter_free(w);
}

static void refuse_no_event(struct waiter *w)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    if (w->tid)
        sd_bus_error_setf(&error, PTRACED_ERROR_NO_EVENT, "Session %s has no event of thread %d",
                          w->session->id, w->tid);
    else
        sd_bus_error_setf(&error, PTRACED_ERROR_NO_EVENT, "Session %s has no event",
                          w->session->id);
    refuse(w, &error);
}

void events_refuse(struct session *s, const struct caller *c)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    sd_bus_error_setf(&error, PTRACED_ERROR_NOT_PERMITTED,
                      "A process of session %s has executed a program for which polkit does not "
                      "allow you to have its events",
                      s->id);
    LIST_FOREACH(struct waiter, w, &c->waiters, of_caller)
        if (w->session == s)
            refuse(w, &error);
}

static int answer(struct broker *b, sd_bus_message *call, const struct ptraced_event_record *e)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(call, &reply);
    if (r < 0)
        return r;
    r = ptraced_event_append(reply, e);
    if (r < 0)
        return r;
    return caller_answer(b, call, reply);
}

static bool wants(const struct waiter *w, const struct ptraced_event_record *e)
{
    return (!w->pid || w->pid == e->pid) && (!w->tid || w->tid == e->tid);
}

/* Takes what the record owns. Where nobody waits for it, it is one of `max` that may wait. */
static void deliver(struct session *s, struct ptraced_event_record *e, unsigned max)
{
    int r;

    LIST_FOREACH(struct waiter, w, &s->waiters, of_session) {
        if (!wants(w, e) || answer(s->broker, w->call, e) < 0)
            continue;
        waiter_free(w);
        ptraced_event_done(e);
        return;
    }
    r = stash_add(&s->stash, e, max);
    if (r < 0)
        s->lost++;
    if (r < 0 && r != -ENOBUFS)
        log_warning(&s->broker->log, "Out of memory, dropping an event of session %s", s->id);
}

/* The one event of a TakeEvent's answer: 1, or 0 where there is none. */
static int read_answer(struct session *s, sd_bus_message *reply, struct ptraced_event_record *ret)
{
    struct attachment *a;
    int r;

    r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
    if (r < 0)
        return r;
    r = ptraced_event_read(reply, ret);
    if (r <= 0)
        return r;
    a = attachment_find(s, ret->pid, NULL);
    if (a && a->serial < ret->serial)
        a->serial = ret->serial;
    return 1;
}

static int ask_send(struct session *s, struct tracer *t, struct waiter *w, pid_t pid, pid_t tid,
                    wire_reply_t callback)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    _cleanup_(ask_freep) struct ask *a = NULL;
    int r;

    a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->session = session_ref(s);
    a->tracer = t;
    a->waiter = w;

    r = tracer_new_call(t, "TakeEvent", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "suu", s->id, (uint32_t)pid, (uint32_t)tid);
    if (r < 0)
        return r;
    r = tracer_call(t, m, WIRE_NO_TIMEOUT, pid, callback, a);
    if (r < 0)
        return r;
    if (w) {
        list_append(&w->asks, &a->of_waiter);
        t->n_routed++;
    }
    TAKE_PTR(a);
    return 0;
}

/* ---- Waiting for an event of any thread ---- */

static void settle(struct session *s);

static void on_pulled(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_(ask_freep) struct ask *a = userdata;
    struct ptraced_event_record e = {0};
    struct session *s = a->session;
    struct share *share;
    int r;

    if (s->closed)
        return;
    r = reply ? read_answer(s, reply, &e) : -EIO;
    share = share_find(s, a->tracer);
    if (share) {
        share->pulling = false;
        share->dry = r <= 0 && !share->stale;
        share->stale = false;
    }
    if (r > 0)
        deliver(s, &e, STASH_NO_MAX);
    settle(s);
}

/* Returns whether anybody is still to answer. */
static bool pull(struct session *s)
{
    bool pulling = false;

    LIST_FOREACH(struct share, share, &s->shares, of_session) {
        if (!share->pulling && !share->dry && share->open)
            share->pulling = ask_send(s, share->tracer, NULL, 0, 0, on_pulled) >= 0;
        pulling |= share->pulling;
    }
    return pulling;
}

static bool somebody_waits(const struct session *s)
{
    LIST_FOREACH(struct waiter, w, &s->waiters, of_session)
        if (!w->pid)
            return true;
    return false;
}

/* Nothing is queued anywhere, or it would have been given. */
static bool is_dry(const struct session *s)
{
    LIST_FOREACH(struct share, share, &s->shares, of_session)
        if (!share->open || !share->dry)
            return false;
    return true;
}

/* Asks for whoever waits; tells those that will not wait when there is nothing to wait for. */
static void settle(struct session *s)
{
    if (!somebody_waits(s) || pull(s))
        return;
    if (is_dry(s))
        attachments_forget_gone(s);
    LIST_FOREACH(struct waiter, w, &s->waiters, of_session)
        if (!w->pid && w->never_blocks)
            refuse_no_event(w);
}

/* Ready may still be on its way, which is early enough for those who wait, but not for one who asks
 * what there is now. */
static void doubt(struct session *s)
{
    LIST_FOREACH(struct share, share, &s->shares, of_session) {
        share->dry = false;
        share->stale = share->pulling;
    }
}

/* ---- Waiting for an event of one thread ---- */

/* Frees the waiter where it is answered by that. */
static void waiter_asked(struct waiter *w)
{
    if (!list_empty(&w->asks))
        return;
    if (!w->thread_is_known && sd_bus_error_is_set(&w->refusal))
        refuse(w, &w->refusal);
    else if (w->never_blocks)
        refuse_no_event(w);
}

static void on_asked(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_(ask_freep) struct ask *a = userdata;
    struct ptraced_event_record e = {0};
    struct session *s = a->session;
    int r;

    a->tracer->n_routed--;
    if (s->closed)
        return;
    r = reply ? read_answer(s, reply, &e) : -EIO;
    if (r > 0)
        deliver(s, &e, STASH_NO_MAX);
    if (!a->waiter)
        return;
    /* Of a process that is not attached, nothing more will come. */
    if (r >= 0)
        a->waiter->thread_is_known = attachment_find(s, a->waiter->pid, NULL);
    else if (error && !sd_bus_error_is_set(&a->waiter->refusal))
        sd_bus_error_copy(&a->waiter->refusal, error);
    list_remove(&a->of_waiter);
    waiter_asked(a->waiter);
}

static void ask_tracer(struct waiter *w, struct tracer *t)
{
    int r;

    r = ask_send(w->session, t, w, w->pid, w->tid, on_asked);
    if (r < 0)
        log_debug(&t->broker->log, "Cannot ask tracer %d for an event: errno %d", t->pid, -r);
}

/* Frees the waiter where nobody can be asked. */
static void ask_again(struct waiter *w)
{
    const struct attachment *a;

    if (!list_empty(&w->asks))
        return;
    w->thread_is_known = false;
    sd_bus_error_free(&w->refusal);

    a = attachment_find(w->session, w->pid, NULL);
    if (a) {
        ask_tracer(w, a->tracee->tracer);
        if (list_empty(&w->asks))
            tracer_explain(-ENOTCONN, w->pid, &w->refusal);
    } else {
        sd_bus_error_setf(&w->refusal, PTRACED_ERROR_NOT_ATTACHED,
                          "Session %s does not trace process %d", w->session->id, w->pid);
        LIST_FOREACH(struct share, share, &w->session->shares, of_session)
            ask_tracer(w, share->tracer);
    }
    waiter_asked(w);
}

/* ---- What others tell ---- */

void events_ready(struct session *s, struct tracer *t)
{
    struct share *share = share_find(s, t);

    if (share)
        share->dry = false;
    settle(s);
    /* One that has asked already will be answered with what is there now. */
    LIST_FOREACH(struct waiter, w, &s->waiters, of_session)
        if (w->pid && list_empty(&w->asks))
            ask_tracer(w, t);
}

void events_share_changed(struct session *s)
{
    settle(s);
    LIST_FOREACH(struct waiter, w, &s->waiters, of_session)
        if (w->pid)
            ask_again(w);
}

void events_process_removed(struct session *s, pid_t pid)
{
    LIST_FOREACH(struct waiter, w, &s->waiters, of_session)
        if (w->pid == pid)
            ask_again(w);
}

void events_post(struct session *s, struct ptraced_event_record *e)
{
    int r = line_post(s, e);

    if (r < 0)
        log_warning(&s->broker->log, "Cannot send an event of session %s: %s", s->id, strerror(-r));
    /* There is one for each process of each tracer that ends, and nobody need take any. */
    if (s->queue)
        deliver(s, e, PTRACED_QUEUE_MAX);
    else
        ptraced_event_done(e);
}

void events_forget(struct session *s, pid_t pid)
{
    stash_forget(&s->stash, pid);
}

void events_close(struct session *s)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    sd_bus_error_setf(&error, PTRACED_ERROR_NO_SUCH_SESSION, "Session %s has been closed", s->id);
    while (!list_empty(&s->waiters))
        refuse(LIST_FIRST(&s->waiters, struct waiter, of_session), &error);
    stash_done(&s->stash);
}

/* ---- The call ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct waiter *w = userdata;
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    if (!w->never_blocks) {
        refuse_no_event(w);
        return 0;
    }
    sd_bus_error_setf(&error, PTRACED_ERROR_TIMED_OUT,
                      "A tracer of session %s does not answer, and the others have no event; what "
                      "it traces may hold it up",
                      w->session->id);
    refuse(w, &error);
    return 0;
}

static int start_timer(struct waiter *w, uint64_t timeout_usec)
{
    const struct broker *b = w->session->broker;
    int r;

    if (w->never_blocks)
        timeout_usec = b->tracer_timeout_usec;
    else if (timeout_usec == UINT64_MAX)
        return 0;
    r = sd_event_add_time_relative(b->event, &w->timer, CLOCK_MONOTONIC, timeout_usec,
                                   TIMER_ACCURACY_USEC, on_timer, w);
    return r == -EOVERFLOW ? 0 : r; /* later than any clock tells */
}

static int waiter_new(struct session *s, sd_bus_message *call, pid_t pid, pid_t tid,
                      uint64_t timeout_usec, struct waiter **ret)
{
    _cleanup_(waiter_freep) struct waiter *w = NULL;
    int r;

    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->session = s;
    w->call = sd_bus_message_ref(call);
    w->pid = pid;
    w->tid = tid;
    w->never_blocks = timeout_usec == 0;
    list_init(&w->asks);
    r = start_timer(w, timeout_usec);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(w);
    return 0;
}

/* What asks for one thread stays at the tracer when its waiter has gone, however soon that was. */
static int check_asks(struct session *s, pid_t pid, sd_bus_error *error)
{
    const struct attachment *a = attachment_find(s, pid, NULL);
    int r = 0;

    if (a)
        return limit_check(LIMIT_ROUTED, a->tracee->tracer->n_routed, error);
    LIST_FOREACH(struct share, share, &s->shares, of_session)
        if (r >= 0)
            r = limit_check(LIMIT_ROUTED, share->tracer->n_routed, error);
    return r;
}

int events_get(struct session *s, struct caller *c, sd_bus_message *call, pid_t pid, pid_t tid,
               uint64_t timeout_usec, sd_bus_error *error)
{
    struct ptraced_event_record e;
    struct waiter *w;
    int r;

    if (!s->queue)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "Session %s keeps no events; create it with the option queue=true",
                                 s->id);
    if (stash_take(&s->stash, pid, tid, &e)) {
        r = answer(s->broker, call, &e);
        if (r < 0)
            stash_add(&s->stash, &e, STASH_NO_MAX);
        ptraced_event_done(&e);
        return r < 0 ? r : 1;
    }
    r = limit_check(LIMIT_WAITERS, s->n_waiters, error);
    if (r >= 0 && pid)
        r = check_asks(s, pid, error);
    if (r < 0)
        return r;
    r = waiter_new(s, call, pid, tid, timeout_usec, &w);
    if (r < 0)
        return r;

    list_append(&s->waiters, &w->of_session);
    s->n_waiters++;
    list_append(&c->waiters, &w->of_caller);
    if (pid) {
        ask_again(w);
        return 1;
    }
    if (w->never_blocks)
        doubt(s);
    settle(s);
    return 1;
}
