/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Children whose threads are looked at: four that count all the time, or one after another that is
 * born and ends. To be given to fixture_start(). */

#define COUNTING_THREADS 4

/* What they tell the test. */
struct threads {
    uint64_t counters[COUNTING_THREADS];
    pid_t tids[COUNTING_THREADS]; /* known when the child is ready */
    unsigned births;
};

/* Where they tell it: in memory of fixture_share()'s, to be named before the first of them. */
void threads_tell(volatile struct threads *where);

__attribute__((noreturn)) int four_threads_count(int ready);
__attribute__((noreturn)) int threads_come_and_go(int ready);
