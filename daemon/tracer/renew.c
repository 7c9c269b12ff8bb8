/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/renew.h"
#include "daemon/tracer/explain.h"
#include "daemon/tracer/grant-read.h"
#include "daemon/tracer/renew.h"
#include "daemon/tracer/tracer.h"

/* polkit answers what it asks nobody in some milliseconds; the program stands meanwhile. */
#define RENEW_USEC 2000000
#define ACCURACY_USEC 10000

struct asked {
    struct tracer_session *session;
    pid_t pid;
    uint32_t number;
    sd_event_source *timer;
    TAILQ_ENTRY(asked) askeds;
};

/* ---- Calls meanwhile ------------------------------------------------------------------------ */

static const struct asked *find_asked(const struct tracer *t, const struct ptraced_path *path)
{
    const struct asked *a;

    TAILQ_FOREACH(a, &t->askeds, askeds)
        if (strcmp(a->session->id, path->session) == 0 && a->pid == path->pid)
            return a;
    return NULL;
}

/* They were meant for the former program, and who makes them may be refused the new one. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const struct tracer *t = userdata;
    struct ptraced_path path;

    if (TAILQ_EMPTY(&t->askeds) || !sd_bus_message_is_method_call(m, NULL, NULL) ||
        sd_bus_message_is_method_call(m, PTRACED_PROCESS_INTERFACE, "Detach"))
        return 0;
    ptraced_path_parse(sd_bus_message_get_path(m), &path);
    if ((path.kind != PTRACED_PATH_PROCESS && path.kind != PTRACED_PATH_THREAD) ||
        !find_asked(t, &path))
        return 0;
    return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED, EXPLAIN_ASKED_TEXT, path.pid);
}

int renew_add(struct tracer *t, sd_bus *bus)
{
    return sd_bus_add_filter(bus, NULL, on_message, t);
}

/* ---- The question and its answer ------------------------------------------------------------ */

static void asked_free(struct asked *a)
{
    struct tracer *t = a->session->tracer;

    TAILQ_REMOVE(&t->askeds, a, askeds);
    sd_event_source_disable_unref(a->timer);
    free(a);
    t->rearm = true;
    t->output_pending = true;
}

static void answer(struct tracer_session *s, pid_t pid, uint32_t number, struct grant *grant)
{
    int r = trace_renew(s->tracer->trace, s->core, pid, number, grant);

    if (r >= 0)
        renew_forget(s, pid); /* -ESTALE: there may be a later one */
    s->tracer->output_pending = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    const struct asked *a = userdata;

    answer(a->session, a->pid, a->number, NULL);
    return 0;
}

static int send_question(const struct asked *a, int pidfd)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    sd_bus *bus = a->session->tracer->bus;
    int r = sd_bus_message_new_signal(bus, &m, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE,
                                      "ExecAsks");

    if (r >= 0)
        r = sd_bus_message_append(m, "suuh", a->session->id, (uint32_t)a->pid, a->number, pidfd);
    return r < 0 ? r : sd_bus_send(bus, m, NULL);
}

bool renew_ask(struct tracer_session *s, const struct pidref *process, uint32_t number,
               uint64_t usec_max)
{
    struct tracer *t = s->tracer;
    struct asked *a = t->bus && !t->releasing ? calloc(1, sizeof(*a)) : NULL;

    if (!a)
        return false;
    *a = (struct asked){.session = s, .pid = process->pid, .number = number};
    if (send_question(a, process->fd) < 0 ||
        sd_event_add_time_relative(t->event, &a->timer, CLOCK_MONOTONIC,
                                   usec_max < RENEW_USEC ? usec_max : RENEW_USEC, ACCURACY_USEC,
                                   on_timer, a) < 0) {
        free(a);
        return false;
    }
    TAILQ_INSERT_TAIL(&t->askeds, a, askeds);
    t->rearm = true;
    t->output_pending = true;
    return true;
}

void renew_forget(struct tracer_session *s, pid_t pid)
{
    struct asked *a, *next;

    for (a = TAILQ_FIRST(&s->tracer->askeds); a; a = next) {
        next = TAILQ_NEXT(a, askeds);
        if (a->session == s && a->pid == pid)
            asked_free(a);
    }
}

int renew_method(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer *t = userdata;
    struct grant *grant = NULL;
    struct tracer_session *s;
    uint32_t pid, number;
    const char *id;
    int r, granted;

    r = sd_bus_message_read(m, "suub", &id, &pid, &number, &granted);
    if (r >= 0 && granted)
        r = grant_read(m, &grant);
    if (r < 0)
        return r;
    s = tracer_find_session(t, id);
    if (s)
        answer(s, (pid_t)pid, number, grant);
    grant_unref(grant);
    return sd_bus_reply_method_return(m, NULL);
}

void renew_flush(struct tracer *t)
{
    struct asked *a;

    while ((a = TAILQ_FIRST(&t->askeds))) {
        struct tracer_session *s = a->session;

        if (trace_renew(t->trace, s->core, a->pid, a->number, NULL) < 0 &&
            trace_lose(t->trace, s->core, a->pid, LOST_PRIVILEGE) < 0)
            asked_free(a);
    }
}
