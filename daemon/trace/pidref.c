/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/pidref.h"

int pidref_open(pid_t pid, struct pidref *ret)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (fd < 0)
        return -errno;
    *ret = (struct pidref){.pid = pid, .fd = fd};
    return 0;
}

/* The kernel tells the number behind a pidfd in fdinfo alone; -1 there means reaped. */
static int pidfd_number(int fd, pid_t *ret)
{
    char path[48], text[512];
    _cleanup_close_ int info = -1;
    const char *line;
    ssize_t n;
    long pid;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    info = open(path, O_RDONLY | O_CLOEXEC);
    if (info < 0)
        return errno == ENOENT ? -EBADF : -errno;
    n = read(info, text, sizeof(text) - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';

    line = strstr(text, "\nPid:");
    if (!line)
        return -EBADF;
    pid = strtol(line + strlen("\nPid:"), NULL, 10);
    if (pid <= 0)
        return -ESRCH;
    *ret = (pid_t)pid;
    return 0;
}

int pidref_from_fd(int fd, struct pidref *ret)
{
    pid_t pid;
    int r, copy;

    r = pidfd_number(fd, &pid);
    if (r < 0)
        return r;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return -errno;
    *ret = (struct pidref){.pid = pid, .fd = copy};
    return 0;
}

int pidref_signal(const struct pidref *p, int signo)
{
    if (syscall(SYS_pidfd_send_signal, p->fd, signo, NULL, 0) < 0)
        return -errno;
    return 0;
}

bool pidref_exists(const struct pidref *p)
{
    return pidref_signal(p, 0) != -ESRCH;
}

bool pidref_has_thread(const struct pidref *p, pid_t tid)
{
    return syscall(SYS_tgkill, p->pid, tid, 0) == 0 || errno == EPERM;
}

void pidref_done(struct pidref *p)
{
    if (p->fd >= 0)
        close(p->fd);
    *p = PIDREF_NULL;
}
