/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "bus-api/event.h"
#include "daemon/broker/list.h"

/* Events that have left their tracer's queue and that nobody has taken yet, the oldest first. */

struct stash {
    struct list events;
    unsigned n;
};

#define STASH_NO_MAX UINT_MAX

void stash_init(struct stash *stash);

/* Takes what the record owns, in any case. -ENOBUFS where there are `max` already. */
int stash_add(struct stash *stash, struct ptraced_event_record *e, unsigned max);

/* Moves the oldest one of that process (0: any) and thread (0: any) to *ret, which the caller ends
 * with ptraced_event_done(). */
bool stash_take(struct stash *stash, pid_t pid, pid_t tid, struct ptraced_event_record *ret);

/* Drops the events of a process (0: any) but for those that say that it was lost. */
void stash_forget(struct stash *stash, pid_t pid);

/* Drops all. */
void stash_done(struct stash *stash);
