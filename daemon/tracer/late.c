/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/tracer/late.h"
#include "daemon/tracer/tracer.h"

#define LATE_USEC 500000
#define ACCURACY_USEC 1000

struct late {
    struct tracer_session *session;
    pid_t pid;
    sd_bus_message *call;
    sd_event_source *timer;
    TAILQ_ENTRY(late) lates;
};

static bool is_awaited(const struct tracer_session *s, pid_t pid)
{
    const struct attachment *a;

    TAILQ_FOREACH(a, &s->core->attachments, by_session)
        if ((pid == 0 || a->process->pidref.pid == pid) && trace_awaits_stops(a))
            return true;
    return false;
}

static void answer(struct tracer *t, struct late *l)
{
    TAILQ_REMOVE(&t->lates, l, lates);
    (void)sd_bus_reply_method_return(l->call, NULL); /* or the broker is gone */
    sd_bus_message_unref(l->call);
    sd_event_source_disable_unref(l->timer);
    free(l);
    t->output_pending = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct late *l = userdata;

    answer(l->session->tracer, l);
    return 0;
}

int late_answer(struct tracer *t, struct tracer_session *s, pid_t pid, sd_bus_message *call)
{
    struct late *l;
    int r;

    if (!is_awaited(s, pid))
        return sd_bus_reply_method_return(call, NULL);
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    r = sd_event_add_time_relative(t->event, &l->timer, CLOCK_MONOTONIC, LATE_USEC, ACCURACY_USEC,
                                   on_timer, l);
    if (r < 0) {
        free(l);
        return r;
    }
    l->session = s;
    l->pid = pid;
    l->call = sd_bus_message_ref(call);
    TAILQ_INSERT_TAIL(&t->lates, l, lates);
    t->rearm = true;
    return 1;
}

bool late_is_any(const struct tracer *t)
{
    return !TAILQ_EMPTY(&t->lates);
}

void late_check(struct tracer *t)
{
    struct late *l, *next;

    for (l = TAILQ_FIRST(&t->lates); l; l = next) {
        next = TAILQ_NEXT(l, lates);
        if (!is_awaited(l->session, l->pid))
            answer(t, l);
    }
}

void late_flush(struct tracer *t, const struct tracer_session *s)
{
    struct late *l, *next;

    for (l = TAILQ_FIRST(&t->lates); l; l = next) {
        next = TAILQ_NEXT(l, lates);
        if (!s || l->session == s)
            answer(t, l);
    }
}
