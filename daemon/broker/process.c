/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "daemon/broker/process.h"

/* status has some 60 lines; what we look for is among the first dozen. */
#define FILE_PART_SIZE 2048

int process_open(pid_t pid, int *ret_pidfd)
{
    int fd;

    fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
        /* For a thread, kernels have said EINVAL and ENOENT. */
        if (errno == EINVAL || errno == ENOENT)
            return kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : -EINVAL;
        return -errno;
    }
    *ret_pidfd = fd;
    return 0;
}

/* The first number behind a word at the start of a line of a file in /proc. */
static int read_field(const char *path, const char *word, long *ret)
{
    _cleanup_close_fd_ int fd = -1;
    char text[FILE_PART_SIZE];
    const char *line;
    ssize_t n;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    n = read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';

    for (line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, word, strlen(word)) == 0)
            return sscanf(line + strlen(word), " %ld", ret) == 1 ? 0 : -EBADMSG;
    }
    return -ENODATA;
}

int process_of_pidfd(int pidfd, pid_t *ret)
{
    char path[64];
    long pid;
    int r;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    r = read_field(path, "Pid:", &pid);
    if (r == -ENODATA)
        return -EBADF;
    if (r < 0)
        return r;
    if (pid <= 0)
        return -ESRCH;
    *ret = (pid_t)pid;
    return 0;
}
