/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bus-api/paths.h"
#include "daemon/trace/quota.h"
#include "daemon/trace/trace.h"
#include "daemon/tracer/doorbell.h"

/* A session as this tracer knows it. */
struct tracer_session {
    struct tracer *tracer;
    struct session *core;
    char id[PTRACED_SESSION_ID_MAX + 1];
    /* Kept for a restarted broker; they mean nothing here. */
    uid_t uid;
    char *name;
    char *owner;
    char *lifetime;
    bool queue;

    uint32_t credit;             /* events that may still be streamed ahead of the broker */
    bool has_credit;             /* this broker has been given its window */
    bool wants_ready;            /* a TakeEvent found nothing */
    uint64_t nothing_at;         /* the first that did, by what the queue had taken in */
    uint64_t lost_told;          /* the count that the broker knows */
    sd_event_source *lost_timer; /* while it is armed, the count is not told again */
    TAILQ_ENTRY(tracer_session) sessions;
};

struct tracer {
    sd_event *event;
    sd_bus *bus; /* to the broker; NULL while there is none */
    int control_fd;
    struct doorbell doorbell;
    struct ledger *ledger;
    struct quota_table *quota_table;
    struct quota quota;
    struct trace *trace;
    TAILQ_HEAD(, tracer_session) sessions;
    TAILQ_HEAD(, late) lates;   /* answers that wait (late.h) */
    TAILQ_HEAD(, asked) askeds; /* grants that are asked for (renew.h) */
    bool output_pending;        /* a queue has something for the broker */
    bool check_idle;            /* something ended: perhaps nothing is left */
    bool idle_told;
    sd_event_source *holds_timer; /* NULL until an observer has held a thread (access.h) */
    bool rearm;     /* an event source was changed while the event loop stood prepared */
    bool releasing; /* letting go of everything, then exit */
    bool exiting;
};

/* Takes the descriptors over. */
int tracer_new(int control_fd, int ledger_fd, int quota_fd, struct tracer **ret);
struct tracer *tracer_free(struct tracer *t);

struct tracer_session *tracer_find_session(const struct tracer *t, const char *id);

/* What a process executes, escaped; NULL: it cannot be told. */
char *tracer_read_executable(const struct process *p);

/* Tells the broker that, by the signal Executed. */
void tracer_tell_executable(const struct tracer_session *s, const struct process *p);

/* `max` is how much of each the user may have, as the broker says. -EUSERS: of QUOTA_USERS others
 * there are sessions here. */
int tracer_add_session(struct tracer *t, const char *id, uid_t uid, bool queue,
                       const uint32_t max[QUOTA_KINDS], struct tracer_session **ret);
/* Detaches all that it has. */
void tracer_remove_session(struct tracer *t, struct tracer_session *s);

/* Serves a (new) broker on this socket, which it takes over. */
int tracer_adopt(struct tracer *t, int fd);

/* Detaches everything; the program ends when the last thread is let go, or a little later. */
void tracer_release(struct tracer *t);

/* Nothing is traced and no queue holds anything. */
bool tracer_is_idle(const struct tracer *t);
