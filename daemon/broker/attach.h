/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/broker/list.h"
#include "daemon/broker/proof.h"
#include "daemon/broker/target.h"

struct attachment;
struct broker;
struct caller;
struct polkit_check;
struct session;
struct tracee;

/* A request to attach, from the call to its answer:
 *
 *     a pidfd (of the keeper, where a thread was named)
 *     -> Inspect, by the keeper: may this be traced at all?
 *     -> who is neither root nor served by a broker with its own rights: Inspect of the caller, the
 *        question to polkit, and Inspect once more, since an answer may take minutes
 *     -> the tracer that holds the process, or TakeTracer
 *     -> OpenSession and Attach, by the tracer
 *
 * The whole has one time-out, which does not run while people think. The chain itself goes on after
 * it, and after the caller has left: what is attached for nobody is detached again. */
/* What the caller may trace, at the most (grant.h). */
enum attach_grant {
    ATTACH_NOTHING, /* nobody has been asked yet */
    ATTACH_EVERYTHING,
    ATTACH_OWN,    /* what is its own, where that is enough (rights.h) */
    ATTACH_PROVEN, /* a process of these credentials, of which the tracer finds a proof */
    ATTACH_OTHER,  /* a process of the credentials that this one had when polkit was asked */
};

/* What the options ask for that the broker has to know. */
struct attach_wish {
    bool observe; /* without control */
    bool joins;   /* nothing is attached: the caller is to be authorised for what is already */
    bool replays; /* the call is not answered with that, but can be handled then */
    uint64_t attachment; /* by which the session traces it already */
    struct proof proof;
};

struct attach {
    struct list attaches; /* of the broker */
    struct list of_caller;
    struct list of_tracee; /* while another request fetches the tracer */
    struct broker *broker;
    struct session *session;
    struct caller *caller; /* NULL: it has left */
    sd_bus_message *call;
    bool answered;
    bool at_tracer; /* it is the tracer that we wait for */
    bool is_sent;   /* as Attach; among those that are, they are listed in that order */
    sd_event_source *timer;

    int pidfd;
    pid_t tid; /* 0: the whole process */
    struct attach_wish wish;
    struct target target;
    struct tracee *tracee;

    enum attach_grant grant;
    enum attach_grant asks_for;  /* what polkit's yes is to give */
    uint64_t n_executed;         /* then, by what the session traces already */
    struct target asked;         /* the target as polkit was told of it */
    uint64_t asker_namespace;    /* the caller's user namespace; 0: unknown */
    char asker[TARGET_COMM_MAX]; /* the caller's comm; "": unknown */
    struct polkit_check *check;  /* NULL: none under way */
};

/* Methods of Session: read the call, check it, and answer it later. */
int attach_process(struct session *s, struct caller *c, sd_bus_message *call, sd_bus_error *error);
int attach_process_fd(struct session *s, struct caller *c, sd_bus_message *call,
                      sd_bus_error *error);
int attach_thread(struct session *s, struct caller *c, sd_bus_message *call, sd_bus_error *error);
int attach_authorize_process(struct session *s, struct caller *c, sd_bus_message *call,
                             sd_bus_error *error);

/* What holds for each call that is put by until its caller is authorised: 0, or an error. */
int attach_check_first(const struct caller *c, sd_bus_message *call, sd_bus_error *error);

/* The same before any other call is handled, which comes back when its caller is authorised for the
 * attachment: 1; or an error. */
int attach_authorize_first(struct session *s, struct caller *c, sd_bus_message *call,
                           const struct attachment *attachment, sd_bus_error *error);

/* The first request of a session that a tracer was sent for a process, which is the one that it
 * answers first. NULL where there is none. */
struct attach *attach_find(const struct session *s, pid_t pid);

/* Nobody else may get events of what is to be attached: 0, or an error that says who would. */
int attach_check_listeners(const struct session *s, const struct caller *c, sd_bus_message *call,
                           sd_bus_error *error);

/* Starts the chain. Takes the pidfd in any case; -1: the keeper finds the process of the thread. 1
 * when the call will be answered later. */
int attach_begin(struct session *s, struct caller *c, sd_bus_message *call, int pidfd, pid_t tid,
                 const struct attach_wish *wish, sd_bus_error *error);

/* ---- attach-authorize.c ---- */

/* Whether the caller may trace the target. 1: it may; 0: that will be known later, and then
 * attach_go_on() or attach_fail() is called; an error that says why not. */
int attach_authorize(struct attach *a, sd_bus_error *error);

/* Whether what it may trace is enough for what its session traces already (clearance.h); an error
 * that says why not. */
int attach_check_clearance(const struct attach *a, const struct caller *c,
                           const struct attachment *attached, sd_bus_error *error);

/* Ends the requests of a session that wait for polkit. */
void attach_session_closed(const struct session *s);

/* Ends the requests that wait for polkit, unanswered: for the end of the broker. */
void attach_drop_questions(struct broker *b);

/* ---- attach-join.c ---- */

/* Of a request that joins: the caller may trace the target. Answers it, now or later; or an error.
 */
int attach_join(struct attach *a, sd_bus_error *error);

/* ---- attach-open.c ---- */

/* The tracer that is to hold the process is there: goes on with it to the end. */
void attach_open(struct attach *a);

/* ---- For those two ---- */

/* The target is looked at again, and the chain goes on. */
void attach_go_on(struct attach *a);
/* Answers with the error and ends the chain. */
void attach_fail(struct attach *a, const sd_bus_error *error);
/* The same; the error may have been written or not, or is that the session has been closed. */
void attach_fail_with(struct attach *a, int r, sd_bus_error *error);
void attach_fail_closed(struct attach *a);
/* Ends the chain, unanswered. */
void attach_end(struct attach *a);
/* The time-out stops running, or starts anew. */
void attach_pause_timer(struct attach *a);
void attach_restart_timer(struct attach *a);

/* The caller has left. */
void attach_abandon(struct attach *a);
