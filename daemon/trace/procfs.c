/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/procfs.h"

/* Reads a whole small file and ends it with NUL. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;

    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    while (n < size - 1) {
        ssize_t k = read(fd, text + n, size - 1 - n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        n += (size_t)k;
    }
    text[n] = '\0';
    return (ssize_t)n;
}

static void parse_four(const char *p, uint32_t ret[static 4])
{
    char *end = (char *)p;

    for (unsigned i = 0; i < 4; i++)
        ret[i] = (uint32_t)strtoul(end, &end, 10);
}

/* One line of status, "Key:\tvalue". Returns whether it was one of those that are wanted. */
static bool parse_status_line(const char *line, struct proc_status *s)
{
    const char *value = strchr(line, '\t');
    size_t key = strcspn(line, ":");

#define IS(name) (key == strlen(name) && strncmp(line, name, strlen(name)) == 0)
    if (!value)
        return false;
    if (IS("State"))
        s->state = value[1];
    else if (IS("Tgid"))
        s->tgid = (pid_t)strtol(value, NULL, 10);
    else if (IS("PPid"))
        s->ppid = (pid_t)strtol(value, NULL, 10);
    else if (IS("TracerPid"))
        s->tracer = (pid_t)strtol(value, NULL, 10);
    else if (IS("Uid"))
        parse_four(value, s->uids);
    else if (IS("Gid"))
        parse_four(value, s->gids);
    else if (IS("SigPnd") || IS("ShdPnd"))
        s->pending |= strtoull(value, NULL, 16);
    else if (IS("CapPrm"))
        s->permitted = strtoull(value, NULL, 16);
    else
        return false;
#undef IS
    return true;
}

/* Line by line: the line of groups may be long. The first line, Name, escapes its line feeds, so
 * that no comm can forge a key. */
int proc_read_status(pid_t tid, struct proc_status *ret)
{
    const unsigned wanted = 9;
    struct proc_status s = {0};
    _cleanup_free_ char *line = NULL;
    unsigned found = 0;
    size_t size = 0;
    char path[32];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", tid);
    f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? -ESRCH : -errno;
    while (found < wanted && getline(&line, &size, f) > 0)
        found += parse_status_line(line, &s);
    fclose(f);
    if (found < wanted)
        return found == 0 ? -ESRCH : -EPROTO; /* 0: it ended between open and read */
    *ret = s;
    return 0;
}

/* Returns when nobody who was letting go of a thread does so any more: that is done under
 * tasklist_lock, which getpriority(2) takes for a process group (kernel/sys.c). */
static void pass_tasklist_lock(void)
{
    (void)getpriority(PRIO_PGRP, 0);
}

pid_t proc_read_tracer(pid_t tid)
{
    struct proc_status status;
    pid_t last = 0;

    for (unsigned n_same = 0, tries = 0; n_same < 4 && tries < 12; tries++) {
        pass_tasklist_lock();
        if (proc_read_status(tid, &status) < 0 || status.tracer == 0)
            return 0;
        n_same = status.tracer == last ? n_same + 1 : 1;
        last = status.tracer;
    }
    return last;
}

int proc_read_stat(pid_t pid, pid_t tid, struct proc_stat *ret)
{
    struct proc_stat s = {0};
    char path[48], text[1024];
    const char *p;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
    n = read_file(path, text, sizeof(text));
    if (n < 0)
        return (int)n;

    p = strrchr(text, ')');
    if (!p || sscanf(p + 1, " %c %*d %*d %*d %*d %*d %u", &s.state, &s.flags) != 2)
        return -EPROTO;
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    p = strrchr(text, ' ');
    if (!p)
        return -EPROTO;
    s.exit_code = strtoll(p + 1, NULL, 10); /* the last field, 52, since Linux 3.5 */
    *ret = s;
    return 0;
}

int proc_read_comm(pid_t tid, char ret[static PROC_COMM_MAX])
{
    char path[32], text[PROC_COMM_MAX + 1];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/comm", tid);
    n = read_file(path, text, sizeof(text));
    if (n < 0)
        return (int)n;
    if (n > 0 && text[n - 1] == '\n')
        n--;
    if (n >= (ssize_t)PROC_COMM_MAX) /* a kernel thread's name may be longer */
        n = PROC_COMM_MAX - 1;
    text[n] = '\0';
    memcpy(ret, text, (size_t)n + 1);
    return 0;
}

ssize_t proc_read_executable(pid_t pid, char *ret)
{
    char link[32];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/%d/exe", pid);
    n = readlink(link, ret, PATH_MAX);
    return n < 0 ? -errno : n;
}

uint64_t proc_read_user_namespace(pid_t pid, pid_t tid)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/ns/user", pid, tid);
    return stat(path, &st) < 0 ? 0 : st.st_ino;
}

ssize_t proc_read_program(pid_t pid, pid_t tid, char *ret)
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/exe", pid, tid);
    n = readlink(path, ret, PATH_MAX);
    return n < 0 ? -errno : n;
}

bool proc_is_dumpable(pid_t pid, pid_t tid, const struct proc_status *status)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
    if (stat(path, &st) < 0)
        return false;
    return st.st_uid == status->uids[1] && st.st_gid == status->gids[1];
}

int proc_read_yama_scope(void)
{
    char text[16];

    if (read_file("/proc/sys/kernel/yama/ptrace_scope", text, sizeof(text)) <= 0)
        return 0;
    return (int)strtol(text, NULL, 10);
}

bool proc_is_thread_of(pid_t pid, pid_t tid)
{
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
    return access(path, F_OK) == 0;
}

/* Of none, statm gives all zeros (fs/proc/array.c:proc_pid_statm()). */
bool proc_has_memory(pid_t pid, pid_t tid)
{
    char path[48], text[128];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/statm", pid, tid);
    return read_file(path, text, sizeof(text)) > 0 && strtoull(text, NULL, 10) > 0;
}

/* The directory is read with large buffers: readdir()'s own 32 KiB make five times as many system
 * calls for a process of 5,000 threads. */
int proc_for_each_thread(pid_t pid, int (*callback)(pid_t tid, void *userdata), void *userdata)
{
    enum { BUFFER_SIZE = 128 * 1024 };
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *buffer = NULL;
    char path[32];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    buffer = malloc(BUFFER_SIZE);
    if (!buffer)
        return -ENOMEM;

    while ((n = syscall(SYS_getdents64, fd, buffer, BUFFER_SIZE)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
            int r;

            at += entry->d_reclen;
            if (!isdigit((unsigned char)entry->d_name[0]))
                continue;
            r = callback((pid_t)strtol(entry->d_name, NULL, 10), userdata);
            if (r != 0)
                return r;
        }
    if (n < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    return 0;
}
