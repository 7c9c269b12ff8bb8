/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "daemon/broker/list.h"

struct attach;
struct attachment;
struct broker;
struct caller;

/* Who traces what, for the journal. Nothing here is left out for being too much, but for refusals:
 * those of one user are counted for some seconds after one that was written, and then written as
 * one entry, so that nobody can drown the others. An embedded broker has nobody to tell. */

struct audit {
    struct list refusals; /* users that were refused something lately */
    unsigned n_refusals;
};

void audit_init(struct audit *a);
void audit_done(struct audit *a);

/* polkit has allowed it. */
void audit_granted(const struct attach *a, const char *action);

/* `what` was asked for, a polkit action or a method, and is refused. The attach may be NULL. */
void audit_refused(const struct caller *c, const struct attach *a, const char *what);

/* A session traces a process from now on. The attach that brought it there may be NULL: a child
 * that is followed. */
void audit_attached(struct attachment *a, const struct attach *by);

/* It does so no more; why: `detached`, `ended`, `closed`. Or it has lost it: `privilege`, `limit`,
 * `tracer`. */
void audit_released(const struct attachment *a, const char *why);
