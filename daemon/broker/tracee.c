/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "bus-api/macro.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

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
    a->id = ++s->broker->last_attachment;
    list_init(&a->clearances);
    list_append(&t->attachments, &a->of_tracee);
    list_append(&s->attachments, &a->of_session);
    s->n_attachments++;
    return 1;
}

void attachment_free(struct attachment *a, const char *why)
{
    struct tracee *t = a->tracee;

    if (why)
        audit_released(a, why);
    while (!list_empty(&a->clearances))
        clearance_free(LIST_FIRST(&a->clearances, struct clearance, of_attachment));
    list_remove(&a->of_tracee);
    list_remove(&a->of_session);
    a->session->n_attachments--;
    free(a->executable);
    free(a);
    tracee_release(t);
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
