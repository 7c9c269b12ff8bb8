/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "tests/bench/clock.h"
#include "tests/bench/meter.h"

/* Above the tracers that raise themselves to the lowest real-time priority. */
#define METER_PRIORITY 2

/* How long a meter among thousands of spinning threads may take to come around. */
#define WAIT_NSEC (60ull * NSEC_PER_SEC)

struct meter {
    _Atomic uint64_t last;  /* the thread's newest reading */
    _Atomic uint64_t since; /* a gap that began before this is not counted */
    _Atomic uint64_t gap;   /* the largest */
};

static void count_gap(struct meter *m, uint64_t begin, uint64_t gap)
{
    if (begin >= atomic_load(&m->since) && gap > atomic_load(&m->gap))
        atomic_store(&m->gap, gap);
}

static void pace(uint64_t until)
{
    const struct timespec ts = {
        .tv_sec = (time_t)(until / NSEC_PER_SEC),
        .tv_nsec = (long)(until % NSEC_PER_SEC),
    };

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

void meter_run(struct meter *m)
{
    const struct sched_param param = {.sched_priority = METER_PRIORITY};
    uint64_t last, due, now;

    /* Where the class is refused, at least the timers shall not be late on purpose. */
    prctl(PR_SET_TIMERSLACK, 1);
    sched_setscheduler(0, SCHED_FIFO, &param);

    for (last = clock_nsec(CLOCK_MONOTONIC);; last = now) {
        due = last + METER_PERIOD_NSEC;
        pace(due);
        now = clock_nsec(CLOCK_MONOTONIC);
        if (now > due)
            count_gap(m, last, now - due);
        atomic_store(&m->last, now);
    }
}

int meter_new(struct meter **ret)
{
    struct meter *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    *ret = m;
    return 0;
}

/* Waits for a reading that is newer than now. All gaps before it have been counted by then. */
static int wait_for_reading(struct meter *m)
{
    uint64_t now = clock_nsec(CLOCK_MONOTONIC);

    while (atomic_load(&m->last) <= now) {
        const struct timespec pause = {.tv_nsec = 100 * NSEC_PER_USEC};

        if (clock_nsec(CLOCK_MONOTONIC) > now + WAIT_NSEC)
            return -ETIMEDOUT;
        nanosleep(&pause, NULL);
    }
    return 0;
}

int meter_reset(struct meter *m)
{
    int r;

    atomic_store(&m->since, clock_nsec(CLOCK_MONOTONIC));
    r = wait_for_reading(m);
    if (r >= 0)
        atomic_store(&m->gap, 0);
    return r;
}

int meter_report(struct meter *m, uint64_t *ret)
{
    int r;

    r = wait_for_reading(m);
    if (r >= 0)
        *ret = atomic_load(&m->gap);
    return r;
}
