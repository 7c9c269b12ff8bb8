/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/broker/list.h"

struct session;
struct tracer;

/* What a session has at a tracer: made with the first OpenSession that is sent, gone with either.
 */
struct share {
    struct list of_session;
    struct list of_tracer;
    struct session *session;
    struct tracer *tracer;

    bool open;            /* the tracer knows the session */
    bool streaming;       /* it was told to send events as they come */
    struct list tellings; /* calls by which it is told so */
    unsigned n_tellings;
    bool dry;      /* its queue is empty; Ready will tell when it is not */
    bool pulling;  /* TakeEvent is under way, for whoever waits */
    bool stale;    /* it was sent before somebody came who wants to know about now */
    uint64_t lost; /* events dropped so far */

    unsigned n_batches; /* in the session's line */
    uint32_t credit;    /* events passed on, the tracer not yet told */
};

/* Finds or makes it. */
int share_get(struct session *s, struct tracer *t, struct share **ret);
struct share *share_find(const struct session *s, const struct tracer *t);
void share_free(struct share *share);

/* Tells the tracer whether the session has subscribers, where that has changed. */
void share_update_stream(struct share *share);
