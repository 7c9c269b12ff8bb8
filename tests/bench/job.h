/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the programs have in common that trace for the benches of the engine: the raw loops
 * (bench-raw-*.c) and ours (bench-engine.c).
 *
 *     PROGRAM [--for=USEC] [--how=WORD] [--address=NUMBER] [--size=BYTES] PID
 *
 * They print "attached" when they have everything in hand, then work, and print one JSON object.
 * None of them works for longer than JOB_SECONDS_MAX, whatever happens. */

#define JOB_SECONDS_MAX 60u
/* The exit status of a program that has not learnt to do this. */
#define JOB_EXIT_UNABLE 3

struct job {
    pid_t pid;
    uint64_t usec; /* for how long to count */
    const char *how;
    uint64_t address;
    size_t size;
    uint64_t begin; /* when the counting began */
    uint64_t n_stops;
    const char *step; /* for people: what is being tried */
};

/* Parses the command line, runs the job and says what went wrong. `run` returns 0, a negative
 * errno, or -EOPNOTSUPP for JOB_EXIT_UNABLE. The result is main()'s. */
int job_main(int argc, char *argv[], int (*run)(struct job *j));

/* All is in hand: says so, and lets the time begin. */
void job_begin(struct job *j);

/* Whether the time is up. Costs one reading of the clock, which is no system call. */
bool job_is_over(const struct job *j);

/* Whether --how was that word. */
bool job_is(const struct job *j, const char *how);

/* What the jobs print at the end: the stops since job_begin(), so many bytes in so much time
 * (used_usec(): both sides of a copy are the copier's work), the median of times, which it sorts.
 */
void job_print_stops(const struct job *j);
void job_print_bytes(const struct job *j, uint64_t usec);
void job_print_median(uint64_t *nsec, size_t n);
