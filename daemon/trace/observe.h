/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct attachment;
struct grant;
struct process;
struct trace;

/* Sessions that only observe a process. What they read of a thread they need it to stand for, so
 * they may stop one, for a short time: then it runs on without them, whatever they say. They cannot
 * change how it runs (trace_continue()); what else they must not do, their methods refuse.
 *
 * The time that they have, all observers of a process together, is OBSERVE_HOLD_USEC. It runs while
 * they hold any thread of the process, and comes back half as fast while they hold none: so a
 * process that is observed runs for two thirds of the time, whatever its observers do. */
#define OBSERVE_HOLD_USEC UINT64_C(1000000)
/* The first observer's grant may say that there is less of it to begin with: who comes again and
 * again would have it anew each time.
 *
 * Less than that is not worth a stop. */
#define OBSERVE_LEAST_USEC UINT64_C(50000)

struct observe_time {
    uint64_t
        at_usec; /* CLOCK_MONOTONIC, when it was counted last; 0: never, and there is all of it */
    uint64_t left_usec; /* then */
    unsigned n_held;    /* threads */
};

/* One that has just come, by a grant; NULL: by a right to everything. */
void observe_begins(const struct attachment *a, const struct grant *g);

/* A child has the time that the process has which it was followed from. */
void observe_follows(struct process *child, const struct process *parent);

/* Whether a session may stop one more thread; one that does not only observe always may. */
/* For how long the observers of its process may hold it from now on, in usec; UINT64_MAX: it has
 * control. */
uint64_t observe_left(const struct attachment *a);
bool observe_may_hold(const struct attachment *a);

/* It holds one more, or one less. */
void observe_holds(const struct attachment *a);
void observe_lets_go(const struct attachment *a);

/* It does not only observe any more. */
void observe_ends(struct attachment *a);

/* Lets those go that an observer has held for too long. Returns when the next one is due (usec,
 * CLOCK_MONOTONIC); 0: none is held. To be called when trace.observers_hold is set, and when due.
 */
uint64_t observe_let_go(struct trace *t);
