/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick of signals: each stops its thread, the kernel is asked who sent it, and it is
 * passed on. With --how=bare the kernel is not asked. */

#include <errno.h>
#include <stdbool.h>
#include <sys/ptrace.h>

#include "tests/bench/job.h"
#include "tests/bench/tracees.h"

static int serve(struct job *j, bool bare)
{
    siginfo_t si, info;
    int r;

    r = tracees_wait(0, &si);
    if (r < 0)
        return r;
    if (!bare && ptrace(PTRACE_GETSIGINFO, si.si_pid, NULL, &info) < 0)
        return -errno;
    j->n_stops++;
    return ptrace(PTRACE_CONT, si.si_pid, NULL, si.si_status) < 0 ? -errno : 0;
}

static int run(struct job *j)
{
    __attribute__((__cleanup__(tracees_done))) struct tracees t = {0};
    const bool bare = job_is(j, "bare");
    int r;

    r = tracees_seize(&t, j->pid, 0);
    if (r < 0)
        return r;
    job_begin(j);
    while (!job_is_over(j)) {
        r = serve(j, bare);
        if (r < 0)
            return r;
    }
    job_print_stops(j);
    return tracees_release(&t);
}

int main(int argc, char *argv[])
{
    return job_main(argc, argv, run);
}
