/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "daemon/broker/list.h"
#include "daemon/broker/wire.h"

struct broker;

#define TRACER_LEFT_MAX 16u

/* A tracer, and the connection to it. The broker closes it, which ends it, when it has nothing left
 * and no call to it is under way. One that goes by itself has died; its tracees are lost. */
struct tracer {
    struct list tracers; /* of the broker */
    struct broker *broker;
    pid_t pid;
    struct wire wire;
    struct list shares;
    struct list tracees;
    struct list flights; /* calls to it that carry something */
    unsigned n_routed;
    bool has_died;
    bool overdue;  /* a call to it has timed out since all that it is sent went into its socket */
    bool used;     /* it has held a process */
    bool by_grant; /* it has been told of a grant (grant.c) */
    bool idle;     /* it holds none any more, and its queues are empty */
    /* Processes that have left it lately, and of which it may still have threads that the kernel
     * does not stop: until it is idle, nobody else can have them. 0: none. */
    pid_t left[TRACER_LEFT_MAX];
    unsigned n_left; /* counts all there were */
};

/* Takes the descriptor in any case. */
int tracer_new(struct broker *b, pid_t pid, int fd, struct tracer **ret);

/* Closes the connection. Its shares, tracees and attachments go too, without an event. */
void tracer_free(struct tracer *t);

/* Closes the connection if nobody needs the tracer any more. */
void tracer_settle(struct tracer *t);

/* NULL where no tracer has that pid. */
struct tracer *tracer_find(const struct broker *b, pid_t pid);

/* The tracer that a process has left lately, or NULL. */
struct tracer *tracer_find_left(const struct broker *b, pid_t pid);

/* A new call of the broker's own interface to it. `about` is the process to name in the error of a
 * call that gets no answer; 0: whichever it traces. */
int tracer_new_call(struct tracer *t, const char *member, sd_bus_message **ret);
int tracer_call(struct tracer *t, sd_bus_message *m, uint64_t timeout_usec, pid_t about,
                wire_reply_t callback, void *userdata);

/* Whether it has not taken all that it was sent, or not much of it. */
bool tracer_has_untaken(const struct tracer *t);
bool tracer_is_behind(const struct tracer *t);

/* Writes the error for a call that it does not answer. */
void tracer_explain_silence(struct tracer *t, pid_t about, sd_bus_error *error);

/* 0 where it may be sent more; else it has not taken what was sent to it by the time that a call
 * timed out, and what comes on top of that would only be kept here: Error.TimedOut. */
int tracer_check_takes(struct tracer *t, pid_t about, sd_bus_error *error);

/* The error for a call that could not be sent since the tracer is just ending (-ENOTCONN). Any
 * other number is passed through. */
int tracer_explain(int r, pid_t pid, sd_bus_error *error);
