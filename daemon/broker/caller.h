/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "daemon/broker/flow.h"
#include "daemon/broker/list.h"
#include "daemon/broker/permit.h"

struct broker;

/* Who calls. On a bus: a unique name, whose user the bus is asked for, without waiting, before its
 * first call is handled; until then its calls are put by, and come back in their order. From then
 * on the bus tells when it leaves. sd_bus_track and sd_bus_query_sender_creds() would do both, but
 * they wait for the bus.
 *
 * In embedded mode there is one caller, the client, and its connection's end is ours. */
struct caller {
    struct list callers; /* of the broker, the one that called last first */
    struct broker *broker;
    char *name; /* unique name; "": the client of an embedded broker */
    uid_t uid;
    pid_t pid; /* when it connected; 0: unknown */
    int pidfd; /* of that process; -1: the bus does not tell it */
    gid_t *groups;
    size_t n_groups; /* 0: unknown */
    bool known;      /* the bus has said whose it is */
    bool beyond;     /* all places are taken, and it is not known yet whether it is root's */
    bool refused;    /* its user has too many */
    sd_bus_slot *watch;
    sd_bus_slot *query;

    struct list unchecked; /* calls put by */
    unsigned n_unchecked;

    struct list sessions; /* that end with it */
    struct list subscriptions;
    struct flow flow; /* of the events that it is sent */
    struct list waiters;
    struct list attaches;
    struct list clearances;   /* what it was authorised for */
    struct list permit_waits; /* calls that wait for polkit */
    struct permits permits;   /* of the call that is being handled */
};

/* Begins to tell callers apart; to be called before any object is added to the bus. */
int callers_start(struct broker *b);

/* What the bus answers to GetConnectionCredentials. -ENODATA: it does not tell the user. In
 * caller-credentials.c. */
int caller_read_credentials(struct caller *c, sd_bus_message *m);

/* Whether a caller may begin to have something here: a user's programs are counted
 * (UserCallersMax), but for root's. It is asked where that begins, with a session or with what is
 * of another's; so whoever has one can end it. */
int caller_check_user(const struct caller *c, sd_bus_error *error);

/* Nobody of them has anything here, or waits for anything. */
bool callers_are_idle(const struct broker *b);

/* Forgets all of them, without ending anything that is theirs. */
void callers_done(struct broker *b);

/* The caller of a message that is being handled. */
struct caller *caller_of(struct broker *b, sd_bus_message *m);

/* Sends the answer to a call, and counts it for the caller (flow.h). */
int caller_answer(struct broker *b, sd_bus_message *call, sd_bus_message *answer);

/* The one of that name, which is asked for where it isn't known yet. If the bus knows no such name,
 * it leaves again. */
int caller_get(struct broker *b, const char *name, struct caller **ret);
