/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/broker/list.h"

/* Bytes of a call that is under way to a tracer. They are kept here until the call is answered, and
 * where that is by a time-out until the tracer has taken what lies before it: one that is held up
 * takes nothing, and its user shall not fill another one meanwhile.
 *
 * Where the call asks for a file of memory, so does what that may take (kept.h), which the tracer
 * fills before it answers: after a time-out until it has answered a later call. */

struct broker;
struct tracer;

struct flight {
    struct list of_broker;
    struct list of_tracer;
    struct tracer *tracer;
    uid_t uid;
    size_t n_bytes;
    uid_t file_uid;    /* of the caller, who may be another user */
    unsigned file_mib; /* 0: it asks for no file, or nobody counts that */
    uint64_t number;   /* of the call (wire.h) */
    bool lingers;      /* it has timed out */
};

/* For the call that is sent next. 0, or -ENOMEM. */
int flight_begin(struct broker *b, struct tracer *t, uid_t uid, size_t n_bytes,
                 struct flight **ret);

/* The tracer has answered, or will get nothing any more. Accepts NULL. */
void flight_end(struct flight *f);

/* The call has timed out: it ends when the tracer has taken what it was sent. */
void flight_linger(struct flight *f);

/* The tracer has answered the call of that number, and takes them in their order: those before it
 * that linger end; with UINT64_MAX, for it goes, all that do. */
void flights_end(struct tracer *t, uint64_t number);

/* Of all that is under way for a user. */
size_t flight_count_bytes(struct broker *b, uid_t uid);
/* Of the files that are under way to one. */
unsigned flight_count_file_mib(const struct broker *b, uid_t uid);
