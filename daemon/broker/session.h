/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "bus-api/paths.h"
#include "daemon/broker/line.h"
#include "daemon/broker/list.h"
#include "daemon/broker/stash.h"

struct broker;
struct caller;

/* A session: what one client traces. It is found by its id until it is closed; requests that are
 * under way then keep the object, not the session, alive. */
struct session {
    unsigned n_ref;
    struct broker *broker;
    uint64_t number;
    char id[PTRACED_SESSION_ID_MAX + 1];
    uid_t uid;    /* of its creator */
    char *name;   /* escaped */
    char *owner;  /* the unique name that it ends with; "": none */
    char *holder; /* the unique name of who has made it; "": a broker before us knew */
    bool persistent;
    bool queue;
    bool closed;
    bool adopted; /* from a broker before us: what has ended since then it does not know */

    struct caller *creator; /* NULL: it doesn't end with its creator */
    struct list of_creator;

    struct list subscriptions;
    unsigned n_subscriptions;
    struct list shares;    /* what it has at each tracer */
    struct line line;      /* events for the subscribers */
    struct list of_stream; /* where there are any, and no subscriber is behind */
    struct list attachments;
    unsigned n_attachments;
    struct list gone; /* attachments of which events may wait still: they are for who was authorised
                         (clearance.h) */
    unsigned n_gone;

    struct stash stash;  /* events that have left their tracer's queue already */
    struct list waiters; /* calls of GetEvent, the oldest first */
    unsigned n_waiters;
    uint64_t lost; /* events dropped by tracers that are gone */
};

/* A caller that is sent ThreadEvent. */
struct subscription {
    struct list of_session;
    struct list of_caller;
    struct session *session;
    struct caller *caller;
};

struct session_settings {
    uint64_t number;
    uid_t uid;
    const char *name;   /* escaped */
    const char *owner;  /* "": none */
    const char *holder; /* "": unknown */
    bool persistent;
    bool queue;
};

/* Makes a session that can be found; it lives until session_close(). The creator may be NULL. */
int session_new(struct broker *b, const struct session_settings *settings, struct caller *creator,
                struct session **ret);
struct session *session_ref(struct session *s);
struct session *session_unref(struct session *s);
void session_unrefp(struct session **s);

/* NULL where there is none (any more). */
struct session *session_find(struct broker *b, const char *id);

/* The number in an id as the broker makes them; false where it is none. */
bool session_number(const char *id, uint64_t *ret);

/* What a user has: for the limits. */
unsigned session_count(const struct broker *b, uid_t uid);
unsigned session_count_tracees(const struct broker *b, uid_t uid);

/* Ends it: at once for everybody who looks for it, and at the tracers as soon as they answer. Then
 * `call`, which may be NULL, is answered. */
void session_close(struct session *s, sd_bus_message *call);

/* Subscribing again changes nothing, and so does ending a subscription that is not there. */
int session_subscribe(struct session *s, struct caller *c, sd_bus_error *error);
void session_unsubscribe(struct session *s, const struct caller *c);
void subscription_free(struct subscription *u);

/* Events that were dropped, at all its tracers. */
uint64_t session_lost_events(const struct session *s);
