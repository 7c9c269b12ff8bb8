/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdint.h>
#include <sys/queue.h>

struct trace;
struct tracee;

/* Whose report is served next.
 *
 * A wildcard wait returns the first thread of the kernel's list that has something to report, and
 * a thread that is resumed may have the next thing to report before the end of the list is
 * reached: under a flood of stops the last ones would never have their turn. So somebody that was
 * not served for long is looked at by its id, which costs the same however many there are:
 *
 *  - of those that reported lately, or were told to stop, the one that was served longest ago, once
 *    twice as many stops were served since as there are such threads. Where the wildcard is fair by
 *    itself that doesn't happen. One that has nothing to report then, and again, is no more among
 *    them;
 *  - of the others one every few stops, so that each has its turn, if a later one.
 *
 * The wildcard remains what blocks, what finds threads that nobody knows yet, and what hears the
 * owner's own child (doorbell.h); it is asked after TURNS_LOOKS_MAX reports at the latest. */
#define TURNS_LOOKS_MAX 16u
#define TURNS_MISSES_MAX 2u
#define TURNS_OTHERS_EVERY 16u

TAILQ_HEAD(turn_list, tracee);

struct turns {
    struct turn_list lively; /* reported lately; served longest ago first */
    struct turn_list others;
    uint32_t n_lively;
    uint32_t n_served; /* reports, ever; it may wrap */
    uint32_t others_at;
    uint32_t hurried_at;
    unsigned n_looks; /* that found something, since the last wildcard wait */
};

void turns_init(struct turns *u);
void turns_add(struct turns *u, struct tracee *tracee);
void turns_remove(struct turns *u, struct tracee *tracee);

/* It was told to stop, and somebody waits for that: it is next but one, since it cannot stand yet.
 */
void turns_hurry(struct turns *u, struct tracee *tracee);

/* The next report, which stays to be collected (WNOWAIT), of anybody that the calling thread may
 * wait for. flags: 0 blocks, WNOHANG doesn't. Returns what wait_any() does. */
int trace_next(struct trace *t, int flags, siginfo_t *ret);
