/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/keeper/inspect.h"
#include "daemon/keeper/ratelimit.h"
#include "daemon/keeper/tracer.h"

/* The keeper: which tracers there are, who may have them, and when they have to let go.
 *
 * A tracer is READY until a broker takes it, and TAKEN until it ends. It is told to let go when
 * nobody is left who could use it: in embedded mode as soon as the broker's socket closes, in
 * system mode when no other broker came within the grace period. One that has not ended in due time
 * after that is killed, and its guardian repairs what it leaves. */

#define KEEPER_TRACERS_MAX QUOTA_ROWS
#define KEEPER_NO_UID ((uid_t)-1)
#define USEC_PER_SEC UINT64_C(1000000)

enum keeper_mode {
    KEEPER_EMBEDDED, /* for one broker; ends with it */
    KEEPER_SYSTEM,   /* for one broker after another */
};

struct keeper {
    enum keeper_mode mode;
    sd_event *event;

    /* fleet.c */
    int program_fd; /* the tracer's, O_PATH; -1: none yet */
    int quota_fd;   /* -1: none yet */
    struct quota_table *quota;
    struct tracer_list tracers;
    unsigned n_tracers;
    unsigned n_repairs;        /* child processes that repair what dead tracers traced */
    struct tracer *ready;      /* the one in the list that is kept for the next TakeTracer */
    sd_event_source *restock;  /* armed while the next one is to be started a little later */
    uint64_t taken_usec;       /* when one was given away last; 0: never */
    struct ratelimit failures; /* of ready tracers that ended by themselves */
    bool guard_refusal_logged;

    /* release.c */
    sd_event_source *grace;    /* armed while tracers wait for another broker */
    sd_event_source *patience; /* armed while released tracers are to end */
    bool patience_is_out;      /* they have been killed already */
    bool exiting;

    /* connection.c */
    sd_bus *bus;          /* to the broker; NULL: none is connected */
    int bus_fd;           /* owned by the bus */
    struct pidref broker; /* where it is known */
    uid_t broker_uid;     /* may connect besides root and the keeper's own user; or KEEPER_NO_UID */
    sd_event_source *listen;
    int listen_fd;
    char *listen_path; /* of a socket that the keeper made itself */
};

/* ---- keeper.c: the object, and what its broker asks for ---- */

int keeper_new(enum keeper_mode mode, struct keeper **ret);
struct keeper *keeper_free(struct keeper *k); /* accepts NULL; returns NULL */
void keeper_freep(struct keeper **k);

/* Gives the ready tracer away, or one started now, for a user of whom there may be `max`; 0: any
 * number. Those that cannot end, whatever they are told, count as long as they are there. *ret_fd
 * is a socket to it, the caller's. -EDQUOT: there are too many; -EUSERS: of that user; -ESHUTDOWN:
 * the keeper is about to exit. */
int keeper_take(struct keeper *k, uid_t user, unsigned max, pid_t *ret_pid, int *ret_fd);

/* The next taken tracer that the connected broker has no socket to: 1 with its pid and a new
 * socket, 0 where there is none left. */
int keeper_announce_next(struct keeper *k, pid_t *ret_pid, int *ret_fd);

/* The broker could not be told of that one after all. */
void keeper_unannounce(struct keeper *k, pid_t pid);

/* Kills a tracer. -ESRCH: it is none of ours. */
int keeper_end(struct keeper *k, pid_t pid);

/* Whether a process is one of ptraced's: the keeper, its tracers, their children, its repairs, or
 * the broker. In embedded mode the socket does not tell who the broker is: it knows itself. */
bool keeper_owns(const struct keeper *k, const struct inspection *i);

/* ---- fleet.c: tracers come and go ---- */

/* Starts the first tracer, so that the first attach pays no exec, and watches over all to come. */
int fleet_start(struct keeper *k);

/* Makes sure that k->ready is a tracer that is not known to be dying. */
int fleet_ensure_ready(struct keeper *k);

/* Has a tracer made ready a little later; whoever needs one before has it started at once. */
void fleet_restock(struct keeper *k);

/* The ready one has been given away: the same, but without delay where attach follows attach. */
void fleet_taken(struct keeper *k);

bool fleet_has(const struct keeper *k, enum tracer_state state);

/* ---- release.c: when tracers have to let go, and when the keeper ends ---- */

int release_init(struct keeper *k);

/* Called when the broker's socket has been closed, and when one has connected. */
void release_broker_gone(struct keeper *k);
void release_broker_came(struct keeper *k);

/* Called when a tracer or a repair has ended. */
void release_check(struct keeper *k);

/* Has everything released and ends the event loop once all tracers are gone, in bounded time. */
void release_and_exit(struct keeper *k);

/* ---- keeper-bus.c: the object on the broker's bus ---- */

int keeper_bus_add_object(struct keeper *k, sd_bus *bus);
