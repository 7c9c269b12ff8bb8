/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/broker/allowance.h"
#include "daemon/broker/audit-user.h"
#include "daemon/broker/idle.h"
#include "daemon/broker/index.h"
#include "daemon/broker/keeper-link.h"
#include "daemon/broker/kept.h"
#include "daemon/broker/list.h"
#include "daemon/broker/log.h"
#include "daemon/broker/stream.h"

/* The broker: everything that the service knows, and the loop that it runs on.
 *
 *     callers (caller.h) own, subscribe to and wait for
 *     sessions (session.h), which hold
 *     attachments to tracees (tracee.h), which are held by
 *     tracers (tracer-link.h).
 *
 * Nothing here blocks on any of the other processes once the broker has started. */

enum broker_mode {
    BROKER_EMBEDDED, /* one client, over a socket */
    BROKER_SYSTEM,   /* a name on the system bus */
    BROKER_USER,     /* a name on a user's bus */
};

struct broker_options {
    enum broker_mode mode;
    uint64_t tracer_timeout_usec; /* what does not answer in that time gets a time-out error */
    uint64_t idle_exit_usec;      /* it ends after that time without any need; 0: it stays */
};

struct caller;

struct broker {
    enum broker_mode mode;
    uint64_t tracer_timeout_usec;
    struct log log;

    sd_event *event;
    sd_bus *bus; /* to the clients */
    struct keeper_link keeper;

    struct list callers;
    unsigned n_strangers; /* told that there is no room for them, since there was some (caller.c) */
    struct caller *client; /* embedded: the only caller; else NULL */

    struct index sessions;  /* by number */
    struct list questions;  /* to polkit, that are under way */
    uint64_t last_question; /* the number of the last one */
    uint64_t last_session;  /* the highest number given so far, by a broker before us too */
    struct index tracees;   /* by pid */
    uint64_t last_attachment;
    struct list tracers;
    struct list flights;
    struct kept kept;
    struct list attaches; /* requests that are under way */
    struct list renewals; /* of grants, for what was executed (renew.h) */
    struct list gathers;  /* the same, of those that several tracers answer */
    struct stream stream;
    struct audit_users audit;
    struct allowances allowances;
    struct idle idle;
    bool ping_refused; /* and the administrator was told (flow.h) */

    unsigned n_adopting; /* tracers that a broker before us used and that have yet to tell of it */
    bool listing;        /* the keeper is asked for them */
    bool listed;         /* it has told all of them */
    sd_event_source *adopt_timer;
    bool serving; /* the name is ours, or asked for */
};

int broker_new(const struct broker_options *options, struct broker **ret);
struct broker *broker_free(struct broker *b);
void broker_freep(struct broker **b);

/* Connects to clients and keeper, the path of whose socket an embedded broker does not need. On a
 * bus, the name is taken, and systemd told, as soon as the tracers of a broker before us have been
 * adopted. */
int broker_start(struct broker *b, const char *keeper_path);

/* Runs until the client has left, the bus is gone, or a signal says so. */
int broker_run(struct broker *b);

/* The next session's number. */
uint64_t broker_next_session(struct broker *b);

/* Takes the name on the bus: all that is to be adopted has been. */
void broker_serve(struct broker *b);
