/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a user has in all tracers together: threads that its sessions trace, breakpoints, events
 * that wait. A thread is born and an event arises faster than anybody could be asked, and none of
 * them may be one too many; so the counts are in memory that the tracers share.
 *
 * Each tracer has a row, with a slot for each user whose sessions it has, and writes to nothing
 * else; the sum over all rows is what the user has. The keeper makes the table, gives out the rows
 * and takes them back when a tracer has died, and its counts with it. Two tracers that take the
 * last one at the same time may both be refused; never are there too many. */

enum quota_kind {
    QUOTA_THREADS,
    QUOTA_BREAKPOINTS,
    QUOTA_EVENTS,
    QUOTA_KINDS,
};

#define QUOTA_ROWS 4096u
#define QUOTA_USERS 8u /* of one tracer */

struct quota_table;

/* See shared.h. */
int quota_create(int *ret_fd);
int quota_map(int fd, struct quota_table **ret);
void quota_unmap(struct quota_table *q); /* accepts NULL */

/* ---- The keeper ---- */

/* A row for a tracer. -ENOSPC: all are taken. */
int quota_give_row(struct quota_table *q, pid_t tracer);
/* Its tracer is dead. */
void quota_take_back(struct quota_table *q, pid_t tracer);

/* ---- A tracer ---- */

/* One of the users of a tracer, shared by its sessions. */
struct quota_user;

struct quota {
    struct quota_table *table; /* borrowed */
    struct quota_row *row;
    struct quota_user *users[QUOTA_USERS];
};

/* -ENOENT: this process was given no row. */
int quota_join(struct quota_table *table, struct quota *ret);

/* Of a user that is open; else nothing happens. */
void quota_set_max(struct quota *q, uid_t uid, const uint32_t max[QUOTA_KINDS]);

/* With one reference. The maxima are those of the first session. -EUSERS: QUOTA_USERS; -ENOMEM. */
int quota_open(struct quota *q, uid_t uid, const uint32_t max[QUOTA_KINDS],
               struct quota_user **ret);
struct quota_user *quota_ref(struct quota_user *u);
struct quota_user *quota_unref(struct quota_user *u); /* accepts NULL, returns NULL */

/* One more, or false where that would be too many. NULL has no maximum. */
bool quota_take(struct quota_user *u, enum quota_kind kind);
/* One more in any case: it cannot be refused. */
void quota_add(struct quota_user *u, enum quota_kind kind);
void quota_give(struct quota_user *u, enum quota_kind kind);

uint32_t quota_max(const struct quota_user *u, enum quota_kind kind);
