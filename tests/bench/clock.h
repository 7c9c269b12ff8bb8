/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <time.h>

#define USEC_PER_SEC 1000000u
#define NSEC_PER_SEC 1000000000u
#define NSEC_PER_USEC 1000u

/* A clock in nanoseconds. The clocks of the benches cannot fail. Thread-safe. */
static inline uint64_t clock_nsec(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* What the process has used of its processor: other programs are no part of it. */
static inline uint64_t used_usec(void)
{
    return clock_nsec(CLOCK_PROCESS_CPUTIME_ID) / NSEC_PER_USEC;
}

static inline uint64_t now_usec(void)
{
    return clock_nsec(CLOCK_MONOTONIC) / NSEC_PER_USEC;
}
