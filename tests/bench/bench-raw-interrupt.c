/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick of interrupts: from the request to the collected stop, over and over, for one
 * thread that is let run on for a moment in between. */

#include <errno.h>
#include <sys/ptrace.h>
#include <time.h>

#include "tests/bench/clock.h"
#include "tests/bench/interrupt.h"
#include "tests/bench/job.h"
#include "tests/bench/tracees.h"

static int interrupt(struct job *j, uint64_t *ret_nsec)
{
    uint64_t begin = clock_nsec(CLOCK_MONOTONIC);
    siginfo_t si;
    int r;

    if (ptrace(PTRACE_INTERRUPT, j->pid, NULL, NULL) < 0)
        return -errno;
    r = tracees_wait(j->pid, &si);
    if (r < 0)
        return r;
    *ret_nsec = clock_nsec(CLOCK_MONOTONIC) - begin;
    return ptrace(PTRACE_CONT, j->pid, NULL, NULL) < 0 ? -errno : 0;
}

static int run(struct job *j)
{
    __attribute__((__cleanup__(tracees_done))) struct tracees t = {0};
    uint64_t nsec[INTERRUPTS_MAX];
    size_t n = 0;
    int r;

    r = tracees_seize(&t, j->pid, 0);
    if (r < 0)
        return r;
    job_begin(j);
    while (n < INTERRUPTS_MAX && !job_is_over(j)) {
        interrupt_pause();
        r = interrupt(j, &nsec[n]);
        if (r < 0)
            return r;
        n++;
    }
    job_print_median(nsec, n);
    return tracees_release(&t);
}

int main(int argc, char *argv[])
{
    return job_main(argc, argv, run);
}
