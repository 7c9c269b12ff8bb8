/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/broker/wire.h"

struct broker;

/* The connection to the keeper. In embedded mode the broker ends with it. Otherwise a keeper that
 * has gone is looked for at once, and again whenever it is needed: its tracers have let their
 * tracees go by themselves, and what comes back is a new one. */

struct keeper_link {
    struct wire wire;
    struct broker *broker;
    char *path; /* NULL: it cannot be connected to again */
    bool was_ready;
    bool is_other; /* it is of another version, and was told to end */
    bool is_stuck; /* and does not */
};

/* Embedded: over a socket that was handed over, which is taken in any case. */
int keeper_link_open_fd(struct keeper_link *k, struct broker *b, int fd);

/* At a path. It is no error when nobody listens there yet. */
int keeper_link_open_path(struct keeper_link *k, struct broker *b, const char *path);

void keeper_link_close(struct keeper_link *k);

/* A new call of the keeper; connects where there is no connection. `error`, which may be NULL, says
 * what failed. */
int keeper_link_new_call(struct keeper_link *k, const char *member, sd_bus_message **ret,
                         sd_bus_error *error);
int keeper_link_call(struct keeper_link *k, sd_bus_message *m, wire_reply_t callback,
                     void *userdata, sd_bus_error *error);

/* It does not know our interface: what it traces is released, and the next one is ours. */
void keeper_link_retire(struct keeper_link *k);

/* Has a tracer killed that does not answer; what its tracees need is repaired by the keeper. */
void keeper_link_end_tracer(struct keeper_link *k, pid_t tracer);
