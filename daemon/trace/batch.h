/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/trace/trace.h"

struct grant;

/* Waiting for many threads that were told to stop: for each by its id, since the wildcard's cost
 * grows with the number of tracees (10,000 stops: 3.06 s by wildcard, 11 ms by id).
 *
 * Waits block, so that a processor is free for the thread that shall stop, but not for ever: a
 * thread in the kernel's uninterruptible sleep does not stop. When nothing has stopped for
 * BATCH_PATIENCE_USEC, the thread that was waited for is left to follow by itself; after
 * BATCH_LATE_MAX of those the rest is only looked at. Parents in vfork are not waited for at all.
 *
 * Meanwhile the tracer runs in a real-time scheduling class where it may: otherwise it queues for a
 * processor behind the very threads that it shall stop (half of 100 threads spinning: 80 to 359 ms,
 * against 2). Bounded by BATCH_RAISED_USEC.
 *
 * Batches nest: what is collected for one may need another. The outermost sets the class and the
 * clock. */
#define BATCH_PATIENCE_USEC 20000
#define BATCH_LATE_MAX 5u
#define BATCH_RAISED_USEC 500000
/* Where somebody traces by a grant, who has no right to a real-time class himself, all batches of a
 * tracer have less, together: what the grant says, a fifth at the most, and a hundredth or less of
 * the time that passes comes back. Else programs of thousands of threads, stopped over and over,
 * would have the machine to themselves. */
#define BATCH_RAISED_SHARE 100u
#define BATCH_RAISED_FIRST_USEC (BATCH_RAISED_USEC / 5)

struct batch {
    struct trace *trace;
    struct batch *outermost; /* itself, where it is */
    bool raised;
    bool progress;         /* something stopped since the last tick */
    unsigned n_late;       /* threads that patience ran out with */
    uint64_t raised_until; /* event_now_usec() */
    int old_policy;
    int old_priority;
};

void batch_begin(struct batch *b, struct trace *t);

/* Whether a thread is nobody's any more and on its way to the stop in which it is let go, or to its
 * end. Not a leader past its exit stop, whose end may be long in coming. */
bool batch_is_leaving(const struct tracee *tracee);

/* Collects what the thread reports until it stands, is gone, or patience is over. */
void batch_collect(struct batch *b, pid_t tid);

/* Collects the next report of a thread that runs. False: patience is over, or it is gone. */
bool batch_collect_next(struct batch *b, pid_t tid);

/* For work that does not wait: gives the class up when BATCH_RAISED_USEC are over. */
void batch_bound(struct batch *b);

void batch_end(struct batch *b);

/* Somebody traces by a grant from now on; not NULL. */
void batch_begin_to_share(struct trace *t, const struct grant *g);

/* How much of the time at raised class is left, in usec. */
uint64_t batch_raised_left(const struct trace *t, uint64_t now);

/* The ids of a process's threads, to go through while they come and go. The caller frees them.
 * -ENOMEM */
int batch_list_threads(const struct process *p, pid_t **ret, size_t *ret_n);
