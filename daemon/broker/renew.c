/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/renew.h"
#include "daemon/broker/requester.h"
#include "daemon/broker/rights.h"
#include "daemon/broker/session.h"
#include "daemon/broker/target.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

struct question {
    struct renewal *renewal;
    char *caller; /* its name: it may leave */
    const char *action;
    bool refused;
    bool waits;                      /* for room */
    char requester[TARGET_COMM_MAX]; /* "": unknown */
    struct requester *look;          /* the keeper is asked for that */
    struct polkit_check *check;
};

struct renewal {
    struct list renewals; /* of the broker */
    struct broker *broker;
    struct session *session;
    uint64_t attachment; /* its id: it may end */
    pid_t pid;
    uint32_t number;
    struct target target;
    size_t n_questions;
    size_t n_open; /* and one while they are asked */
    struct question *questions;
};

static void renewal_free(struct renewal *r)
{
    for (size_t i = 0; i < r->n_questions; i++) {
        (void)requester_cancel(r->questions[i].look);
        (void)polkit_cancel(r->questions[i].check);
        free(r->questions[i].caller);
    }
    free(r->questions);
    list_remove(&r->renewals);
    target_done(&r->target);
    session_unref(r->session);
    free(r);
}

/* NULL: the session has it no more. */
static struct attachment *find_attachment(const struct renewal *r)
{
    struct attachment *a = r->session->closed ? NULL : attachment_find(r->session, r->pid, NULL);

    return a && a->id == r->attachment && a->tracee->tracer ? a : NULL;
}

/* ---- The answer ----------------------------------------------------------------------------- */

static void on_renewed(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct broker *b = userdata;

    if (error)
        log_debug(&b->log, "Answering for what a process has executed failed, ignoring: %s",
                  error->message);
}

static int send_answer(const struct renewal *r, const struct attachment *a, bool granted)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct tracer *t = a->tracee->tracer;
    int n = tracer_new_call(t, "Renew", &m);

    if (n >= 0)
        n = sd_bus_message_append(m, "suub", r->session->id, (uint32_t)r->pid, r->number,
                                  (int)granted);
    if (n >= 0)
        n = grant_append_renewed(m, granted ? &r->target : NULL);
    return n < 0 ? n : tracer_call(t, m, WIRE_NO_TIMEOUT, r->pid, on_renewed, r->broker);
}

static void note_program(struct attachment *a, struct target *t)
{
    free(a->executable);
    a->executable = TAKE_PTR(t->executable);
}

/* Without an answer the tracer takes it for no, a little later. */
static void finish(struct renewal *r, bool granted)
{
    struct attachment *a = find_attachment(r);
    int n;

    if (a) {
        a->is_asked_about = false;
        n = send_answer(r, a, granted);
        if (n < 0 && n != -ENOTCONN)
            log_warning(&r->broker->log, "Cannot answer for what process %d has executed: %s",
                        r->pid, strerror(-n));
        if (n >= 0 && granted)
            note_program(a, &r->target);
    }
    renewal_free(r);
}

static struct clearance *find_clearance(const struct attachment *a, const char *name)
{
    LIST_FOREACH(struct clearance, c, &a->clearances, of_attachment)
        if (strcmp(c->caller->name, name) == 0)
            return c;
    return NULL;
}

static bool may_anyone(const struct renewal *r, const struct attachment *a)
{
    for (size_t i = 0; i < r->n_questions; i++)
        if (!r->questions[i].refused &&
            clearance_is_enough(find_clearance(a, r->questions[i].caller)))
            return true;
    return false;
}

/* Where the session loses the process, all of them are to be told. */
static void settle(struct renewal *r)
{
    const struct attachment *a = find_attachment(r);
    bool granted;

    if (--r->n_open > 0)
        return;
    granted = a && may_anyone(r, a);
    for (size_t i = 0; granted && i < r->n_questions; i++) {
        struct clearance *c = find_clearance(a, r->questions[i].caller);

        if (c && r->questions[i].refused)
            clearance_take_away(c);
    }
    finish(r, granted);
}

/* NULL: it has none of what is asked about any more. */
static const struct clearance *clearance_of(const struct question *q)
{
    const struct attachment *a = find_attachment(q->renewal);

    return a ? find_clearance(a, q->caller) : NULL;
}

/* May free the question and its renewal. */
static void answered(struct question *q, enum polkit_verdict verdict)
{
    const struct clearance *c = clearance_of(q);

    q->waits = false;
    q->refused = verdict != POLKIT_YES;
    if (c)
        audit_renewed(c, &q->renewal->target, q->action, verdict);
    settle(q->renewal);
}

/* ---- The questions -------------------------------------------------------------------------- */

static void ask_waiting(struct broker *b);

static void on_answer(enum polkit_verdict verdict, const char *why, void *userdata)
{
    struct question *q = userdata;
    struct broker *b = q->renewal->broker;

    q->check = NULL;
    answered(q, verdict);
    ask_waiting(b);
}

static const char *name_of(const struct target *t)
{
    return t->executable ? t->executable : t->comm;
}

static int ask(struct question *q, const struct clearance *c)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    const struct target *t = &q->renewal->target;
    char pid[16], user[16];
    const char *details[] = {
        "pid",        pid,
        "executable", name_of(t),
        "user",       user,
        "access",     c->observe ? PTRACED_ACCESS_OBSERVE : PTRACED_ACCESS_CONTROL,
        "requester",  *q->requester ? q->requester : "a program that has ended",
        NULL,
    };
    const struct polkit_question question = {
        .subject = c->caller->name,
        .uid = c->caller->uid,
        .action = q->action,
        .details = details,
    };

    snprintf(pid, sizeof(pid), "%d", t->pid);
    snprintf(user, sizeof(user), "%u", t->uids[0]);
    return polkit_ask(q->renewal->broker, &question, on_answer, q, &q->check, &error);
}

static bool is_any_asked(const struct broker *b)
{
    LIST_FOREACH(struct renewal, r, &b->renewals, renewals)
        for (size_t i = 0; i < r->n_questions; i++)
            if (r->questions[i].check)
                return true;
    return false;
}

/* Where there is no room for it, it is asked after one of the others is answered, for those are not
 * asked of people. False: it waits. May free the question and its renewal. */
static bool try_to_ask(struct question *q)
{
    const struct clearance *c = clearance_of(q);
    int r = c ? ask(q, c) : -ESTALE;

    q->waits = r == -EDQUOT && is_any_asked(q->renewal->broker);
    if (q->waits)
        return false;
    if (r < 0)
        answered(q, POLKIT_UNAVAILABLE);
    return true;
}

static bool ask_one_waiting(struct broker *b)
{
    LIST_FOREACH(struct renewal, r, &b->renewals, renewals)
        for (size_t i = 0; i < r->n_questions; i++)
            if (r->questions[i].waits && try_to_ask(&r->questions[i]))
                return true;
    return false;
}

static void ask_waiting(struct broker *b)
{
    while (ask_one_waiting(b))
        ;
}

static void on_requester(const char *comm, void *userdata)
{
    struct question *q = userdata;

    q->look = NULL;
    if (comm)
        snprintf(q->requester, sizeof(q->requester), "%s", comm);
    (void)try_to_ask(q);
}

static int make_questions(struct renewal *r, const struct attachment *a)
{
    size_t n = 0;

    LIST_FOREACH(struct clearance, c, &a->clearances, of_attachment)
        n++;
    r->questions = calloc(n + 1, sizeof(*r->questions));
    if (!r->questions)
        return -ENOMEM;
    LIST_FOREACH(struct clearance, c, &a->clearances, of_attachment) {
        struct question *q = &r->questions[r->n_questions++];

        *q = (struct question){.renewal = r, .caller = strdup(c->caller->name)};
        if (!q->caller)
            return -ENOMEM;
        q->action = rights_action(false, c->observe, r->target.yama_scope);
    }
    return 0;
}

static void ask_all(struct renewal *r)
{
    struct broker *b = r->broker;

    r->n_open = r->n_questions + 1; /* and so none of them frees it */
    for (size_t i = 0; i < r->n_questions; i++) {
        struct question *q = &r->questions[i];
        const struct clearance *c = clearance_of(q);

        if (!c || requester_look(c->caller, on_requester, q, &q->look) <= 0)
            (void)try_to_ask(q);
    }
    settle(r);
    ask_waiting(b);
}

static void on_inspected(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_bus_error_ sd_bus_error refusal = SD_BUS_ERROR_NULL;
    struct renewal *r = userdata;
    struct attachment *a = find_attachment(r);

    if (error || !a || target_read(reply, &r->target) < 0 ||
        rights_check_machine(&r->target, &refusal) < 0 || make_questions(r, a) < 0)
        finish(r, false);
    else
        ask_all(r);
}

static int begin(struct renewal *r, int pidfd)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct keeper_link *k = &r->broker->keeper;
    int n = keeper_link_new_call(k, "Inspect", &m, NULL);

    if (n >= 0)
        n = sd_bus_message_append(m, "hu", pidfd, 0u);
    return n < 0 ? n : keeper_link_call(k, m, on_inspected, r, NULL);
}

int renew_on_exec_asks(struct tracer *t, struct session *s, sd_bus_message *m)
{
    struct attachment *a;
    struct renewal *renewal;
    uint32_t pid, number;
    int r, pidfd;

    r = sd_bus_message_read(m, "uuh", &pid, &number, &pidfd);
    if (r < 0)
        return r;
    a = attachment_find(s, (pid_t)pid, t);
    renewal = a ? calloc(1, sizeof(*renewal)) : NULL;
    if (!renewal)
        return a ? -ENOMEM : 0;
    a->id = ++t->broker->last_attachment; /* what was asked about before is another program */
    a->is_asked_about = true;
    renewal->broker = t->broker;
    renewal->session = session_ref(s);
    renewal->attachment = a->id;
    renewal->pid = (pid_t)pid;
    renewal->number = number;
    list_append(&t->broker->renewals, &renewal->renewals);
    if (list_empty(&a->clearances) || begin(renewal, pidfd) < 0)
        finish(renewal, false);
    return 0;
}

void renewals_drop(struct broker *b)
{
    while (!list_empty(&b->renewals))
        renewal_free(LIST_FIRST(&b->renewals, struct renewal, renewals));
}
