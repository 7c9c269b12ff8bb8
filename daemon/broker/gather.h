/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "bus-api/paths.h"
#include "daemon/broker/list.h"

struct broker;
struct gather;
struct session;
struct tracer;

/* Calls to several tracers at once, and one answer when all of theirs are in. */

struct gather_item {
    struct list items;
    struct gather *gather;
    pid_t tracer;
    char path[PTRACED_PATH_MAX]; /* of the object that was called */
    sd_bus_message *reply;       /* or */
    sd_bus_error error;
    bool timed_out;
};

/* Called once; the gather is freed behind it. */
typedef void (*gather_done_t)(struct gather *g, void *userdata);

struct gather {
    struct list gathers; /* of the broker */
    struct broker *broker;
    uid_t uid;
    uint64_t timeout_usec;
    struct list items; /* in the order in which they were added */
    unsigned n_pending;
    gather_done_t done;
    void *userdata;
};

/* `uid` is the user on whose behalf it is. */
int gather_new(struct broker *b, uid_t uid, gather_done_t done, void *userdata,
               struct gather **ret);

/* Whether a user may have one more. One that ends a session is never refused. */
int gather_check(const struct broker *b, uid_t uid, sd_bus_error *error);

/* For lists: what a tracer does not say at once is left out, rather than having one that is held up
 * hold up everybody. To be called before anything is added. */
void gather_be_quick(struct gather *g);

/* Frees one that has not been started. */
void gather_freep(struct gather **g);

/* Sends a call, which was made for that tracer. `pid` is the process that it is about; 0: none
 * alone. */
int gather_add(struct gather *g, struct tracer *t, sd_bus_message *m, pid_t pid);

/* Sends a call whose first argument is the session's id to each of its tracers. `rest` is a message
 * that stands before the arguments to follow, or NULL. */
int gather_session_call(struct gather *g, struct session *s, const char *member,
                        sd_bus_message *rest);

/* All has been added: from now on `done` may be called, and is called at once if nothing is under
 * way. Takes the gather. */
void gather_start(struct gather *g);

/* The first error among the answers, or NULL. */
const sd_bus_error *gather_first_error(const struct gather *g);
