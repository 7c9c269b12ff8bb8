/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/lib/fork.h"

/* C libraries know it since 2022 only. */
#ifndef P_PIDFD
#define P_PIDFD ((idtype_t)3)
#endif

pid_t fork_pidfd(int exit_signal, int *ret_pidfd)
{
    unsigned long flags = CLONE_PIDFD | (unsigned long)exit_signal;
    int pidfd = -1;
    long pid;

    pid = syscall(SYS_clone, flags, 0UL, &pidfd, 0UL, 0UL);
    if (pid < 0)
        return -errno;
    if (pid > 0)
        *ret_pidfd = pidfd;
    return (pid_t)pid;
}

void reap_pidfd(int pidfd)
{
    siginfo_t ignored;
    int r;

    do
        r = waitid(P_PIDFD, (id_t)pidfd, &ignored, WEXITED | __WALL);
    while (r < 0 && errno == EINTR);
}

void kill_child(pid_t pid, int pidfd)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0U) < 0 && errno == ENOSYS)
        /* Not the kernel, which is new enough, but a sandbox or an emulator. */
        (void)kill(pid, SIGKILL);
}

void signals_block(sigset_t *ret_before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

void signals_restore(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void signals_reset(bool keep_ignored)
{
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    struct sigaction action;

    /* Those that the C library keeps for itself are refused, and are nobody's to send. */
    for (int s = 1; s < _NSIG; s++) {
        if (sigaction(s, NULL, &action) < 0 || action.sa_handler == SIG_DFL)
            continue;
        if (keep_ignored && action.sa_handler == SIG_IGN)
            continue;
        (void)sigaction(s, &by_default, NULL);
    }
}

int fd_copy_away(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, FD_OUT_OF_THE_WAY);

    return copy < 0 ? -errno : copy;
}

int fd_move_away(int *fd)
{
    int copy;

    if (*fd >= FD_OUT_OF_THE_WAY)
        return 0;
    copy = fd_copy_away(*fd);
    if (copy < 0)
        return copy;
    close(*fd);
    *fd = copy;
    return 0;
}

void fds_close_from(int first)
{
    struct rlimit limit;

    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) == 0)
        return;
    /* A sandbox that does not know the call. */
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > 65536)
        limit.rlim_cur = 65536;
    for (int fd = first; fd < (int)limit.rlim_cur; fd++)
        close(fd);
}
