/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"
#include "daemon/tracer/doorbell.h"

static _Noreturn void listen_for_ever(int poll_fd, pid_t parent)
{
    struct pollfd p = {.fd = poll_fd, .events = POLLIN};
    sigset_t none;

    prctl(PR_SET_NAME, "ptraced-bell");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    /* Until it is traced the signal shall do nothing; a tracee's signal stops it, ignored or not.
     */
    signal(SIGUSR1, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    for (;;)
        if (poll(&p, 1, -1) > 0)
            (void)syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
}

int doorbell_start(struct doorbell *b, int poll_fd)
{
    pid_t parent = getpid();
    /* Not fork(): the descriptor table is to be one, so that what the loop opens later counts. */
    long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
    int r;

    if (pid < 0)
        return -errno;
    if (pid == 0)
        listen_for_ever(poll_fd, parent);
    r = ptrace_ops_seize((pid_t)pid, PTRACE_O_EXITKILL);
    if (r < 0) {
        kill((pid_t)pid, SIGKILL);
        return r;
    }
    b->pid = (pid_t)pid;
    return 0;
}

int doorbell_rearm(const struct doorbell *b, const siginfo_t *wait)
{
    struct stop stop;

    stop_decode(wait, &stop);
    if (stop_is_end(stop.kind)) {
        siginfo_t end;

        (void)wait_thread(b->pid, WNOHANG, &end); /* it was only looked at */
        return -ESRCH;
    }
    /* The ring is not delivered, nor is whatever else somebody sends it. */
    return ptrace_ops_cont(b->pid, 0);
}

void doorbell_stop(struct doorbell *b)
{
    siginfo_t info;

    if (b->pid == 0)
        return;
    kill(b->pid, SIGKILL);
    (void)wait_thread(b->pid, 0, &info);
    b->pid = 0;
}
