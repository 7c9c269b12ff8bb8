/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/bench/tracees.h"

static inline void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

void tracees_done(struct tracees *t)
{
    free(t->tids);
}

static int keep(struct tracees *t, pid_t tid)
{
    if (t->n == t->n_allocated) {
        size_t n = t->n_allocated ? t->n_allocated * 2 : 64;
        pid_t *tids = reallocarray(t->tids, n, sizeof(*tids));

        if (!tids)
            return -ENOMEM;
        t->tids = tids;
        t->n_allocated = n;
    }
    t->tids[t->n++] = tid;
    return 0;
}

int tracees_seize(struct tracees *t, pid_t pid, unsigned long options)
{
    __attribute__((__cleanup__(closedirp))) DIR *dir = NULL;
    const struct dirent *entry;
    char path[32];
    int r;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    while ((entry = readdir(dir))) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (tid <= 0)
            continue;
        if (ptrace(PTRACE_SEIZE, tid, NULL, options) < 0) {
            /* A short-lived thread; or its creator has brought it along already. */
            if (tid != pid && (errno == ESRCH || errno == EPERM))
                continue;
            return -errno;
        }
        r = keep(t, tid);
        if (r < 0)
            return r;
    }
    return 0;
}

int tracees_wait(pid_t tid, siginfo_t *ret)
{
    while (waitid(tid == 0 ? P_ALL : P_PID, (id_t)tid, ret, WSTOPPED | WEXITED | __WALL) < 0)
        if (errno != EINTR)
            return -errno;
    return ret->si_code == CLD_TRAPPED || ret->si_code == CLD_STOPPED ? 0 : -ESRCH;
}

int tracees_stop(struct tracees *t)
{
    siginfo_t si;
    int r;

    for (size_t i = 0; i < t->n; i++)
        if (ptrace(PTRACE_INTERRUPT, t->tids[i], NULL, NULL) < 0)
            return -errno;
    for (size_t i = 0; i < t->n; i++) {
        r = tracees_wait(t->tids[i], &si);
        if (r < 0)
            return r;
    }
    return 0;
}

int tracees_resume(struct tracees *t, int request)
{
    for (size_t i = 0; i < t->n; i++)
        if (ptrace(request, t->tids[i], NULL, NULL) < 0)
            return -errno;
    return 0;
}

int tracees_release(struct tracees *t)
{
    int r;

    r = tracees_stop(t);
    return r < 0 ? r : tracees_resume(t, PTRACE_DETACH);
}
