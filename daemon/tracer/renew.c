/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/renew.h"
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

struct put_by {
    sd_bus_message *call;
    TAILQ_ENTRY(put_by) put_bys;
};

/* ---- Calls that wait ------------------------------------------------------------------------ */

/* Whoever waits still is put by again. */
static void take_up(struct tracer *t)
{
    struct put_by *p;

    while ((p = TAILQ_FIRST(&t->put_bys))) {
        TAILQ_REMOVE(&t->put_bys, p, put_bys);
        if (t->bus)
            (void)sd_bus_enqueue_for_read(t->bus, p->call); /* or the broker is gone */
        sd_bus_message_unref(p->call);
        free(p);
    }
    t->rearm = true;
    t->output_pending = true;
}

static int put_by(struct tracer *t, sd_bus_message *m)
{
    struct put_by *p = malloc(sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->call = sd_bus_message_ref(m);
    TAILQ_INSERT_TAIL(&t->put_bys, p, put_bys);
    return 1;
}

static bool is_asked(const struct tracer *t, const char *id, pid_t pid)
{
    const struct asked *a;

    TAILQ_FOREACH(a, &t->askeds, askeds)
        if (strcmp(a->session->id, id) == 0 && (pid == 0 || a->pid == pid))
            return true;
    return false;
}

/* Of the session as a whole: what would go past the process, or attach to it once more. */
static bool is_for_all(sd_bus_message *m)
{
    static const char *const members[] = {"Attach", "Prove", "Interrupt", "Continue"};

    for (size_t i = 0; i < ELEMENTSOF(members); i++)
        if (sd_bus_message_is_method_call(m, PTRACED_TRACER_INTERFACE, members[i]))
            return true;
    return false;
}

static bool has_to_wait(const struct tracer *t, sd_bus_message *m)
{
    const char *id = NULL;
    struct ptraced_path path;
    bool waits;

    if (is_for_all(m)) {
        waits = sd_bus_message_read(m, "s", &id) > 0 && is_asked(t, id, 0);
        (void)sd_bus_message_rewind(m, true);
        return waits;
    }
    ptraced_path_parse(sd_bus_message_get_path(m), &path);
    return (path.kind == PTRACED_PATH_PROCESS || path.kind == PTRACED_PATH_THREAD) &&
           is_asked(t, path.session, path.pid) &&
           !sd_bus_message_is_method_call(m, PTRACED_PROCESS_INTERFACE, "Detach");
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer *t = userdata;

    if (TAILQ_EMPTY(&t->askeds) || !sd_bus_message_is_method_call(m, NULL, NULL) ||
        !has_to_wait(t, m))
        return 0;
    return put_by(t, m);
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
    take_up(t);
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

bool renew_ask(struct tracer_session *s, const struct pidref *process, uint32_t number)
{
    struct tracer *t = s->tracer;
    struct asked *a = t->bus && !t->releasing ? calloc(1, sizeof(*a)) : NULL;

    if (!a)
        return false;
    *a = (struct asked){.session = s, .pid = process->pid, .number = number};
    if (send_question(a, process->fd) < 0 ||
        sd_event_add_time_relative(t->event, &a->timer, CLOCK_MONOTONIC, RENEW_USEC, ACCURACY_USEC,
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
    struct put_by *p;

    while ((p = TAILQ_FIRST(&t->put_bys))) {
        TAILQ_REMOVE(&t->put_bys, p, put_bys);
        sd_bus_message_unref(p->call);
        free(p);
    }
    while ((a = TAILQ_FIRST(&t->askeds))) {
        struct tracer_session *s = a->session;

        if (trace_renew(t->trace, s->core, a->pid, a->number, NULL) < 0)
            asked_free(a);
    }
}
