/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick of system calls: every thread stops when it enters one and when it leaves it, and
 * each time the kernel is asked which one it is. Blocks in one wait for all threads. */

#include <errno.h>
#include <sys/ptrace.h>

#include "tests/bench/job.h"
#include "tests/bench/tracees.h"

#define SYSCALL_STOP (SIGTRAP | 0x80) /* PTRACE_O_TRACESYSGOOD */

static int serve(struct job *j)
{
    struct __ptrace_syscall_info info;
    siginfo_t si;
    int signo, r;

    r = tracees_wait(0, &si);
    if (r < 0)
        return r;
    /* Else a signal, or the trap of an event. */
    signo = si.si_status < SIGTRAP ? si.si_status : 0;
    if (si.si_status == SYSCALL_STOP) {
        if (ptrace(PTRACE_GET_SYSCALL_INFO, si.si_pid, sizeof(info), &info) < 0)
            return -errno;
        j->n_stops++;
    }
    return ptrace(PTRACE_SYSCALL, si.si_pid, NULL, signo) < 0 ? -errno : 0;
}

static int run(struct job *j)
{
    __attribute__((__cleanup__(tracees_done))) struct tracees t = {0};
    int r;

    r = tracees_seize(&t, j->pid, PTRACE_O_TRACESYSGOOD);
    if (r < 0)
        return r;
    r = tracees_stop(&t);
    if (r < 0)
        return r;
    r = tracees_resume(&t, PTRACE_SYSCALL);
    if (r < 0)
        return r;
    job_begin(j);
    while (!job_is_over(j)) {
        r = serve(j);
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
