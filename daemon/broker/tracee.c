/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/macro.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* Each is a question to polkit for who was authorised for none of them (permit.c). */
#define GONE_MAX 64u

int tracee_new(struct broker *b, pid_t pid, struct tracer *tracer, struct tracee **ret)
{
    struct tracee *t;
    int r;

    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    *t = (struct tracee){.broker = b, .pid = pid};
    list_init(&t->attachments);
    list_init(&t->parked);

    r = index_add(&b->tracees, (uint64_t)pid, t);
    if (r < 0) {
        free(t);
        return r;
    }
    if (tracer)
        tracee_set_tracer(t, tracer);
    *ret = t;
    return 0;
}

void tracee_set_tracer(struct tracee *t, struct tracer *tracer)
{
    t->tracer = tracer;
    list_append(&tracer->tracees, &t->tracees);
}

void tracee_release(struct tracee *t)
{
    if (!list_empty(&t->attachments) || t->n_requests > 0)
        return;
    index_remove(&t->broker->tracees, (uint64_t)t->pid, t);
    list_remove(&t->tracees);
    free(t);
}

struct tracee *tracee_find(struct broker *b, pid_t pid)
{
    const struct index *ix = &b->tracees;
    struct tracee *found = NULL;

    for (size_t i = index_lower_bound(ix, (uint64_t)pid); index_has(ix, i, (uint64_t)pid); i++)
        found = ix->items[i].value;
    return found;
}

static struct tracee *find_at_tracer(struct broker *b, pid_t pid, const struct tracer *tracer)
{
    const struct index *ix = &b->tracees;

    for (size_t i = index_lower_bound(ix, (uint64_t)pid); index_has(ix, i, (uint64_t)pid); i++) {
        struct tracee *t = ix->items[i].value;

        if (t->tracer == tracer)
            return t;
    }
    return NULL;
}

int attachment_add(struct session *s, struct tracer *tracer, pid_t pid)
{
    struct attachment *a;
    struct tracee *t;
    int r;

    if (attachment_find(s, pid, tracer))
        return 0;
    a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;

    t = find_at_tracer(s->broker, pid, tracer);
    if (!t) {
        r = tracee_new(s->broker, pid, tracer, &t);
        if (r < 0) {
            free(a);
            return r;
        }
    }
    a->tracee = t;
    a->session = s;
    a->id = a->root = ++s->broker->last_attachment;
    a->pid = pid;
    a->uid = (uid_t)-1;
    list_init(&a->clearances);
    list_append(&t->attachments, &a->of_tracee);
    list_append(&s->attachments, &a->of_session);
    s->n_attachments++;
    return 1;
}

int attachment_set_executable(struct attachment *a, const char *executable)
{
    free(a->executable);
    a->executable = *executable ? strdup(executable) : NULL;
    return *executable && !a->executable ? -ENOMEM : 0;
}

static void attachment_free(struct attachment *a)
{
    while (!list_empty(&a->clearances))
        clearance_free(LIST_FIRST(&a->clearances, struct clearance, of_attachment));
    list_remove(&a->of_session);
    free(a->executable);
    free(a->releaser);
    free(a);
}

static void forget_one(struct session *s)
{
    attachment_free(LIST_FIRST(&s->gone, struct attachment, of_session));
    s->n_gone--;
}

/* Of what is let go the queue is cleared. Only a persistent session is for several connections. */
static bool leaves_events(const struct session *s, const char *why)
{
    return s->persistent && !s->closed && why && strcmp(why, "detached") != 0;
}

/* What was followed from one process is one, and so is all that there is no more room for. */
static struct attachment *find_gone(const struct session *s, uint64_t root)
{
    LIST_FOREACH(struct attachment, a, &s->gone, of_session)
        if (a->root == root)
            return a;
    return s->n_gone >= GONE_MAX ? LIST_FIRST(&s->gone, struct attachment, of_session) : NULL;
}

static bool is_same_program(const struct attachment *one, const struct attachment *other)
{
    return one->executable && other->executable && strcmp(one->executable, other->executable) == 0;
}

/* Who was authorised for both. */
static void merge_gone(struct attachment *into, struct attachment *a)
{
    LIST_FOREACH(struct clearance, clearance, &into->clearances, of_attachment)
        if (!clearance_find(clearance->caller, a))
            clearance_free(clearance);
    into->asks_own &= a->asks_own;
    if (into->root != a->root || !is_same_program(into, a))
        (void)attachment_set_executable(into, "");
    into->id = ++into->session->broker->last_attachment; /* it is more than was asked about */
    attachment_free(a);
}

static void keep_gone(struct session *s, struct attachment *a)
{
    struct attachment *into = find_gone(s, a->root);

    if (into) {
        merge_gone(into, a);
        return;
    }
    list_append(&s->gone, &a->of_session);
    s->n_gone++;
}

void attachment_set_releaser(struct attachment *a, const struct caller *c)
{
    free(a->releaser);
    a->releaser = c ? strdup(c->name) : NULL;
    a->releaser_uid = c ? c->uid : (uid_t)-1;
}

void attachment_end(struct attachment *a, const char *why)
{
    struct session *s = a->session;
    struct tracee *t = a->tracee;

    if (why)
        audit_released(a, why);
    list_remove(&a->of_tracee);
    list_remove(&a->of_session);
    s->n_attachments--;
    a->tracee = NULL;
    if (leaves_events(s, why))
        keep_gone(s, a);
    else
        attachment_free(a);
    tracee_release(t);
}

void attachments_forget_gone(struct session *s)
{
    while (!list_empty(&s->gone))
        forget_one(s);
}

struct attachment *attachment_find(const struct session *s, pid_t pid, const struct tracer *tracer)
{
    const struct index *ix = &s->broker->tracees;
    struct attachment *found = NULL;

    for (size_t i = index_lower_bound(ix, (uint64_t)pid); index_has(ix, i, (uint64_t)pid); i++) {
        struct tracee *t = ix->items[i].value;

        if (tracer && t->tracer != tracer)
            continue;
        LIST_FOREACH(struct attachment, a, &t->attachments, of_tracee)
            if (a->session == s)
                found = a;
    }
    return found;
}
