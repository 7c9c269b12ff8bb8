/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/keeper/inspect.h"
#include "daemon/trace/pidref.h"

#define PATH_SIZE 64

static bool has_ended(char state)
{
    return state == 'Z' || state == 'X' || state == 'x';
}

/* A thread's own file, so that it is of this process whatever becomes of the number. */
static char *thread_path(char buffer[static PATH_SIZE], pid_t pid, pid_t tid, const char *name)
{
    snprintf(buffer, PATH_SIZE, "/proc/%d/task/%d/%s", pid, tid, name);
    return buffer;
}

static int read_executable(pid_t pid, pid_t tid, char **ret)
{
    char path[PATH_SIZE], target[PATH_MAX];
    ssize_t n = readlink(thread_path(path, pid, tid, "exe"), target, sizeof(target) - 1);
    char *copy;

    if (n < 0) /* a kernel thread, a zombie, or we may not */
        return 0;
    copy = strndup(target, (size_t)n);
    if (!copy)
        return -ENOMEM;
    *ret = copy;
    return 0;
}

/* By the path that others open. It is the same for as long as somebody has it open. */
static void read_memory_file(pid_t pid, struct inspection *i)
{
    char path[PATH_SIZE];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    if (stat(path, &st) < 0)
        return;
    i->memory_device = st.st_dev;
    i->memory_inode = st.st_ino;
}

static int find_living(pid_t tid, void *userdata)
{
    struct proc_status status;

    if (proc_read_status(tid, &status) < 0 || status.tgid != *(const pid_t *)userdata)
        return 0;
    return has_ended(status.state) ? 0 : tid;
}

/* The thread to ask about a whole process. */
static pid_t representative(pid_t pid)
{
    struct proc_status status;
    int r;

    if (proc_read_status(pid, &status) >= 0 && !has_ended(status.state))
        return pid;
    r = proc_for_each_thread(pid, find_living, &pid);
    return r > 0 ? r : pid;
}

/* Tracers and repairs are children of the keeper, and of nobody else while they live. */
static bool is_child_of_ours(pid_t pid)
{
    struct proc_status status;

    return proc_read_status(pid, &status) >= 0 && status.ppid == getpid();
}

static int read_facts(pid_t pid, pid_t tid, struct inspection *i)
{
    struct proc_status status;
    struct proc_stat stat;
    int r;

    r = proc_read_status(tid, &status);
    if (r < 0)
        return r;
    if (status.tgid != pid)
        return -ESRCH;
    r = proc_read_stat(pid, tid, &stat);
    if (r < 0)
        return r;
    r = proc_read_comm(tid, i->comm);
    if (r < 0)
        return r;
    i->tracer = status.tracer;
    if (i->tracer > 0 && !is_child_of_ours(i->tracer))
        i->tracer = proc_read_tracer(tid);
    if (i->tracer > 0) {
        (void)proc_read_comm(i->tracer, i->tracer_comm);
        i->tracer_is_ours = is_child_of_ours(i->tracer);
    }

    i->pid = pid;
    i->parent = status.ppid;
    memcpy(i->uids, status.uids, sizeof(i->uids));
    memcpy(i->gids, status.gids, sizeof(i->gids));
    i->permitted = status.permitted;
    i->kernel_thread = stat.flags & PROC_FLAG_KTHREAD;
    i->zombie = has_ended(status.state);
    i->user_namespace = proc_read_user_namespace(pid, tid);
    read_memory_file(pid, i);
    i->dumpable = !i->kernel_thread && proc_is_dumpable(pid, tid, &status);
    return read_executable(pid, tid, &i->executable);
}

/* Whether everything that was read under these numbers was of this process and thread: numbers are
 * given out anew only after the process, or the thread, has been reaped. */
static int check_still(const struct pidref *process, pid_t tid)
{
    bool is_thread = proc_is_thread_of(process->pid, tid);

    if (!pidref_exists(process))
        return -ESRCH;
    return is_thread ? 0 : -ENXIO;
}

static int inspect_pidref(const struct pidref *process, pid_t tid, struct inspection *ret)
{
    struct inspection i = {0};
    pid_t subject = tid > 0 ? tid : representative(process->pid);
    struct proc_status leader;
    int r, still;

    /* A pidfd may also be one thread's (PIDFD_THREAD): then it names no process. */
    if (proc_read_status(process->pid, &leader) >= 0 && leader.tgid != process->pid)
        return pidref_exists(process) ? -EBADF : -ESRCH;

    r = read_facts(process->pid, subject, &i);
    still = check_still(process, subject);
    if (still < 0)
        r = still == -ENXIO && tid <= 0 ? -EAGAIN : still;
    /* The main thread has ended since it was chosen, and others live. */
    if (r >= 0 && tid <= 0 && i.zombie && representative(process->pid) != subject)
        r = -EAGAIN;
    if (r < 0) {
        inspection_done(&i);
        return r;
    }
    *ret = i;
    return 0;
}

int inspect(int pidfd, pid_t tid, struct inspection *ret)
{
    struct pidref process;
    int r;

    r = pidref_from_fd(pidfd, &process);
    if (r < 0)
        return r;
    /* The thread that was to stand for the process may end under way; another one then does. */
    for (unsigned tries = 0; tries < 16; tries++) {
        r = inspect_pidref(&process, tid, ret);
        if (r != -EAGAIN)
            break;
    }
    pidref_done(&process);
    return r;
}

void inspection_done(struct inspection *i)
{
    free(i->executable);
    i->executable = NULL;
}

int inspect_find_thread(pid_t tid, int *ret_pidfd)
{
    struct proc_status status;
    struct pidref process;
    int r;

    r = proc_read_status(tid, &status);
    if (r < 0)
        return r;
    r = pidref_open(status.tgid, &process);
    if (r < 0) /* -EINVAL, -ENOENT: by now the number is a thread's */
        return r == -EINVAL || r == -ENOENT ? -ESRCH : r;
    /* Between the two another process may have got the number: then the thread is not its. */
    if (!proc_is_thread_of(process.pid, tid) || !pidref_exists(&process)) {
        pidref_done(&process);
        return -ESRCH;
    }
    *ret_pidfd = process.fd;
    return 0;
}
