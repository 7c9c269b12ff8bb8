/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick of threads that come and go: the creator stops, the new thread reports its first
 * stop, and its end is collected. With --how=exit it stops before its end too, as it does for a
 * tracer that shows who is about to end. */

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/bench/job.h"
#include "tests/bench/tracees.h"

#define STATUS_OF(event) (SIGTRAP | (event) << 8)

static int serve(struct job *j)
{
    unsigned long message;
    siginfo_t si;
    int r;

    r = tracees_wait(0, &si);
    if (r == -ESRCH) /* a thread has ended */
        return si.si_pid == j->pid ? r : 0;
    if (r < 0)
        return r;
    if (si.si_status == STATUS_OF(PTRACE_EVENT_CLONE) ||
        si.si_status == STATUS_OF(PTRACE_EVENT_EXIT)) {
        if (ptrace(PTRACE_GETEVENTMSG, si.si_pid, NULL, &message) < 0)
            return -errno;
        j->n_stops += si.si_status == STATUS_OF(PTRACE_EVENT_CLONE);
    }
    return ptrace(PTRACE_CONT, si.si_pid, NULL, 0) < 0 ? -errno : 0;
}

static int run(struct job *j)
{
    __attribute__((__cleanup__(tracees_done))) struct tracees t = {0};
    unsigned long options = PTRACE_O_TRACECLONE | (job_is(j, "exit") ? PTRACE_O_TRACEEXIT : 0);
    int r;

    r = tracees_seize(&t, j->pid, options);
    if (r < 0)
        return r;
    job_begin(j);
    while (!job_is_over(j)) {
        r = serve(j);
        if (r < 0)
            return r;
    }
    job_print_stops(j);
    /* The kernel lets go of them: none of their stops is one that it would turn into a signal. */
    return 0;
}

int main(int argc, char *argv[])
{
    return job_main(argc, argv, run);
}
