/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/escape.h"
#include "client/ctl/macro.h"
#include "client/ctl/proc.h"

/* Reads a small file whole; the buffer is terminated. Returns its length. */
static ssize_t read_file(const char *path, char *buffer, size_t size)
{
    ssize_t n, total = 0;
    int fd;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    while ((n = read(fd, buffer + total, size - 1 - (size_t)total)) > 0)
        total += n;
    if (n < 0)
        total = -errno;
    close(fd);
    if (total >= 0)
        buffer[total] = '\0';
    return total;
}

/* The value behind "\nKEY:\t". The first line, Name, is the only one that the program chose, and
 * the kernel escapes a line feed in it. */
static const char *field(const char *status, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = status; (p = strchr(p, '\n')); p++)
        if (strncmp(p + 1, key, n) == 0 && p[1 + n] == ':')
            return p + 1 + n + 1;
    return NULL;
}

int proc_read_status(pid_t pid, struct proc_status *ret)
{
    const char *state, *tracer, *uid, *process;
    char path[64], status[4096];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    n = read_file(path, status, sizeof(status));
    if (n < 0)
        return n == -ENOENT ? -ESRCH : (int)n;

    state = field(status, "State");
    tracer = field(status, "TracerPid");
    uid = field(status, "Uid");
    process = field(status, "Tgid");
    if (!state || !tracer || !uid || !process)
        return -ENODATA;
    state += strspn(state, "\t ");

    *ret = (struct proc_status){
        .state = *state,
        .tracer = (pid_t)strtol(tracer, NULL, 10),
        .uid = (uid_t)strtoul(uid, NULL, 10),
        .process = (pid_t)strtol(process, NULL, 10),
        /* A zombie has no memory either. */
        .kernel_thread = !field(status, "VmSize") && *state != 'Z' && *state != 'X',
    };
    return 0;
}

char *proc_comm(pid_t pid, pid_t tid)
{
    char path[64], comm[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, tid);
    n = read_file(path, comm, sizeof(comm));
    if (n <= 0)
        return NULL;
    if (comm[n - 1] == '\n')
        n--;
    return ptraced_escape(comm, (size_t)n);
}

int proc_yama_scope(void)
{
    char scope[16];
    ssize_t n = read_file("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof(scope));

    if (n < 0)
        return (int)n;
    if (scope[0] < '0' || scope[0] > '3')
        return -ENODATA;
    return scope[0] - '0';
}
