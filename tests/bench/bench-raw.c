/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick: what the kernel charges for attaching to every thread of a process, stopping and
 * detaching, with nothing around it. It waits for the very thread that it stops, which is the
 * fastest way known; --wildcard waits for whichever comes, as most debuggers do.
 *
 *     bench-raw [--fifo] [--wildcard] PID
 *
 * prints {"threads":N,"attach":USEC,"stop":USEC,"detach":USEC,"total":USEC}. With --fifo it runs at
 * a real-time class meanwhile, as a tracer should that may: threads that spin, and those that it
 * has just let go, otherwise take its processor. When it dies, the kernel lets its tracees go: it
 * inserts nothing that could outlive it. */

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "daemon/trace/macro.h"
#include "tests/bench/clock.h"

#define BITS_PER_WORD 64u

/* What a tracer asks for that wants to see every thread and its end. */
#define SEIZE_OPTIONS (PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT)

struct loop {
    pid_t pid;
    bool fifo;
    bool wildcard;
    pid_t *tids;
    size_t n_tids;
    size_t n_allocated;
    uint64_t *seen; /* one bit a tid */
    size_t n_words;
};

struct times {
    uint64_t begin, attached, stopped, detached;
};

static void loop_done(struct loop *l)
{
    free(l->tids);
    free(l->seen);
}

static inline void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* Marks a tid; whether it is new, or -ENOMEM. */
static int mark_seen(struct loop *l, pid_t tid)
{
    size_t word = (size_t)tid / BITS_PER_WORD;
    uint64_t bit = UINT64_C(1) << ((size_t)tid % BITS_PER_WORD);

    if (word >= l->n_words) {
        size_t n = word + 64;
        uint64_t *seen = reallocarray(l->seen, n, sizeof(*seen));

        if (!seen)
            return -ENOMEM;
        memset(seen + l->n_words, 0, (n - l->n_words) * sizeof(*seen));
        l->seen = seen;
        l->n_words = n;
    }
    if (l->seen[word] & bit)
        return 0;
    l->seen[word] |= bit;
    return 1;
}

static int keep(struct loop *l, pid_t tid)
{
    if (l->n_tids == l->n_allocated) {
        size_t n = l->n_allocated ? l->n_allocated * 2 : 256;
        pid_t *tids = reallocarray(l->tids, n, sizeof(*tids));

        if (!tids)
            return -ENOMEM;
        l->tids = tids;
        l->n_allocated = n;
    }
    l->tids[l->n_tids++] = tid;
    return 0;
}

/* 1: attached; 0: known, or it has just died; -errno. */
static int seize(struct loop *l, pid_t tid)
{
    int r;

    r = mark_seen(l, tid);
    if (r <= 0)
        return r;
    if (ptrace(PTRACE_SEIZE, tid, NULL, SEIZE_OPTIONS) < 0)
        return errno == ESRCH ? 0 : -errno;
    r = keep(l, tid);
    return r < 0 ? r : 1;
}

/* One pass over the threads; how many were new, or -errno. */
static int seize_pass(struct loop *l, const char *path)
{
    __attribute__((__cleanup__(closedirp))) DIR *dir = NULL;
    const struct dirent *entry;
    int r, n = 0;

    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    while ((entry = readdir(dir))) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (tid <= 0)
            continue;
        r = seize(l, tid);
        if (r < 0)
            return r;
        n += r;
    }
    return n;
}

static int attach(struct loop *l)
{
    char path[32];
    int r;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)l->pid);
    do
        r = seize_pass(l, path);
    while (r > 0);
    return r;
}

/* The kernel's own limit on real-time threads keeps the rest of the machine alive. */
static int raise_class(void)
{
    const struct sched_param param = {.sched_priority = 1};

    return sched_setscheduler(0, SCHED_FIFO, &param) < 0 ? -errno : 0;
}

static int wait_for(idtype_t type, pid_t tid)
{
    siginfo_t si;

    while (waitid(type, (id_t)tid, &si, WSTOPPED | WEXITED | __WALL) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int stop(struct loop *l)
{
    int r;

    for (size_t i = 0; i < l->n_tids; i++)
        if (ptrace(PTRACE_INTERRUPT, l->tids[i], NULL, NULL) < 0 && errno != ESRCH)
            return -errno;
    for (size_t i = 0; i < l->n_tids; i++) {
        r = wait_for(l->wildcard ? P_ALL : P_PID, l->wildcard ? 0 : l->tids[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int detach(struct loop *l)
{
    for (size_t i = 0; i < l->n_tids; i++)
        if (ptrace(PTRACE_DETACH, l->tids[i], NULL, NULL) < 0 && errno != ESRCH)
            return -errno;
    return 0;
}

static int run(struct loop *l, struct times *t, const char **ret_step)
{
    int r;

    t->begin = now_usec();
    *ret_step = "take a real-time class for";
    r = l->fifo ? raise_class() : 0;
    if (r < 0)
        return r;
    *ret_step = "attach to";
    r = attach(l);
    if (r < 0)
        return r;
    t->attached = now_usec();
    *ret_step = "stop";
    r = stop(l);
    if (r < 0)
        return r;
    t->stopped = now_usec();
    *ret_step = "detach from";
    r = detach(l);
    if (r < 0)
        return r;
    t->detached = now_usec();
    return 0;
}

static void print(const struct loop *l, const struct times *t)
{
    printf("{\"threads\":%zu,\"attach\":%llu,\"stop\":%llu,\"detach\":%llu,\"total\":%llu}\n",
           l->n_tids, (unsigned long long)(t->attached - t->begin),
           (unsigned long long)(t->stopped - t->attached),
           (unsigned long long)(t->detached - t->stopped),
           (unsigned long long)(t->detached - t->begin));
}

static int parse(struct loop *l, int argc, char *argv[])
{
    static const struct option options[] = {
        {"fifo", no_argument, NULL, 'f'},
        {"wildcard", no_argument, NULL, 'w'},
        {0},
    };
    long pid;
    char *end;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (c == 'f')
            l->fifo = true;
        else if (c == 'w')
            l->wildcard = true;
        else
            return -EINVAL;
    if (optind + 1 != argc)
        return -EINVAL;
    pid = strtol(argv[optind], &end, 10);
    if (*end != '\0' || pid <= 0 || pid > INT_MAX)
        return -EINVAL;
    l->pid = (pid_t)pid;
    return 0;
}

int main(int argc, char *argv[])
{
    __attribute__((__cleanup__(loop_done))) struct loop l = {0};
    const char *step = NULL;
    struct times t = {0};
    int r;

    if (parse(&l, argc, argv) < 0) {
        fprintf(stderr, "Usage: bench-raw [--fifo] [--wildcard] PID\n");
        return EXIT_FAILURE;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    r = run(&l, &t, &step);
    if (r < 0) {
        fprintf(stderr, "Cannot %s process %d: %s\n", step, (int)l.pid, strerror(-r));
        return EXIT_FAILURE;
    }
    print(&l, &t);
    return EXIT_SUCCESS;
}
