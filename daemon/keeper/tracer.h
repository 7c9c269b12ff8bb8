/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "daemon/trace/ledger.h"
#include "daemon/trace/pidref.h"
#include "daemon/trace/quota.h"
#include "daemon/trace/repair.h"

/* What the keeper knows of one tracer process, and the orders that it gives it. */

enum tracer_state {
    TRACER_READY,    /* waits for its first broker */
    TRACER_TAKEN,    /* was given to a broker */
    TRACER_RELEASED, /* was told to let everything go and to exit */
    TRACER_KILLED,   /* was killed by the keeper; its death is yet to be collected */
};

struct tracer {
    LIST_ENTRY(tracer) tracers;
    enum tracer_state state;
    uid_t user;      /* for whom it was taken */
    bool announced;  /* the connected broker has been given a socket to it */
    bool dying;      /* stood in its exit already */
    int guard_error; /* why it could not be seized: it lives without a guardian; 0: it has one */
    struct pidref process;
    int control_fd;
    /* The tracer's end of its socket to the broker, kept open until its repair is done: what the
     * broker hears of its death before that, others would attach into. -1: none */
    int peer_fd;
    struct ledger *ledger;
    struct quota_table *quota; /* borrowed; it has a row there */
    struct repair *repair;     /* planned in the tracer's exit, run after its death */
    bool held;                 /* in its exit, for the repair */
    sd_event_source *holding;  /* while that lasts; may be NULL */
};

LIST_HEAD(tracer_list, tracer);

/* Closes what the keeper has of it; the process itself takes the closed control socket as the order
 * to let go. Accepts NULL and half-built ones; returns NULL. */
struct tracer *tracer_free(struct tracer *t);
void tracer_freep(struct tracer **t);

/* Gives it a socket of its own to a broker and returns the broker's end. Whatever was on an older
 * socket is void. -EPIPE: it is dead; -EAGAIN: it has not taken orders for long. */
int tracer_adopt(struct tracer *t, int *ret_broker_fd);

/* Tells it to detach everything and to exit. */
int tracer_release(struct tracer *t);

int tracer_kill(struct tracer *t);

/* NULL where none of them has that pid. */
struct tracer *tracer_find(const struct tracer_list *list, pid_t pid);
