/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/repair-first.h"
#include "daemon/trace/repair-text.h"

struct endangered {
    pid_t tid;
    cpu_set_t processors; /* as it had them */
    bool is_moved;
    bool is_seized;
};

struct repair_first {
    pid_t tracer;
    int policy; /* our own, as it was */
    struct sched_param param;
    cpu_set_t processors;
    size_t n;
    struct endangered threads[REPAIR_FIRST_MAX];
};

/* What waits for the process alone is no instruction's, but then this is only done in vain. */
static int add_if_endangered(pid_t tid, void *userdata)
{
    struct repair_first *f = userdata;
    struct proc_status status;

    if (f->n < REPAIR_FIRST_MAX && proc_read_status(tid, &status) >= 0 && status.state == 't' &&
        (status.pending & UINT64_C(1) << (SIGTRAP - 1)))
        f->threads[f->n++].tid = tid;
    return 0;
}

/* Where the repair runs there is a processor to be had. The threads' own choices do not count: they
 * execute nothing before they get them back. -1: more than CPU_SETSIZE processors, or none that
 * both may use. */
static int choose_processor(struct repair_first *f)
{
    int current = sched_getcpu();
    cpu_set_t common;

    if (sched_getaffinity(0, sizeof(f->processors), &f->processors) < 0 ||
        sched_getaffinity(f->tracer, sizeof(common), &common) < 0)
        return -1;
    CPU_AND(&common, &common, &f->processors);
    if (current >= 0 && current < CPU_SETSIZE && CPU_ISSET(current, &common))
        return current;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &common))
            return i;
    return -1;
}

/* Above any thread; it sleeps until the tracer is dead, and is short then. The tracer has to come
 * to its end whatever else runs on that processor. */
static bool raise_classes(struct repair_first *f)
{
    const struct sched_param highest = {.sched_priority = sched_get_priority_max(SCHED_FIFO)};
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};

    f->policy = sched_getscheduler(0);
    if (f->policy < 0 || sched_getparam(0, &f->param) < 0 ||
        sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &highest) < 0)
        return false;
    (void)sched_setscheduler(f->tracer, SCHED_FIFO, &lowest);
    return true;
}

/* The flag stays, as in batch.c. */
static void lower_class(const struct repair_first *f)
{
    (void)sched_setscheduler(0, f->policy | SCHED_RESET_ON_FORK, &f->param);
}

/* All first: the kernel keeps what was asked for, and who never asked shall follow when its cpuset
 * grows. */
static void give_back(pid_t tid, const cpu_set_t *processors)
{
    cpu_set_t set;

    for (int i = 0; i < CPU_SETSIZE; i++)
        CPU_SET(i, &set);
    (void)sched_setaffinity(tid, sizeof(set), &set);
    if (sched_getaffinity(tid, sizeof(set), &set) < 0 || !CPU_EQUAL(&set, processors))
        (void)sched_setaffinity(tid, sizeof(*processors), processors);
}

/* Whoever cannot be moved, being in another cpuset or in a deadline class, is left to chance. */
static bool gather_on(struct repair_first *f, int processor)
{
    bool any = false;
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (sched_setaffinity(f->tracer, sizeof(one), &one) < 0 ||
        sched_setaffinity(0, sizeof(one), &one) < 0)
        return false;
    for (size_t i = 0; i < f->n; i++) {
        struct endangered *e = &f->threads[i];

        if (sched_getaffinity(e->tid, sizeof(e->processors), &e->processors) < 0)
            continue;
        e->is_moved = true;
        if (sched_setaffinity(e->tid, sizeof(one), &one) < 0)
            e->is_moved = false;
        else
            any = true;
    }
    return any;
}

void repair_first_prepare(pid_t tracer, const struct patient *patients, size_t n,
                          struct repair_first **ret)
{
    struct repair_first *f = calloc(1, sizeof(*f));
    int processor;

    *ret = f; /* before anybody is moved: repair_first_give_up() reads it */
    if (!f)
        return;
    f->tracer = tracer;
    for (size_t i = 0; i < n; i++)
        (void)proc_for_each_thread(patients[i].process.pid, add_if_endangered, f);
    processor = f->n > 0 ? choose_processor(f) : -1;
    if (processor < 0 || !raise_classes(f)) {
        *ret = repair_first_free(f);
        return;
    }
    if (!gather_on(f, processor)) {
        give_back(0, &f->processors);
        lower_class(f);
        *ret = repair_first_free(f);
    }
}

void repair_first_seize(struct repair_first *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n; i++) {
        struct endangered *e = &f->threads[i];

        e->is_seized = e->is_moved && ptrace_ops_seize(e->tid, 0) >= 0;
        if (e->is_moved)
            give_back(e->tid, &e->processors);
        e->is_moved = false;
    }
    give_back(0, &f->processors);
    lower_class(f);
}

void repair_first_give_up(const struct repair_first *f)
{
    for (size_t i = 0; f && i < f->n; i++)
        if (f->threads[i].is_moved)
            give_back(f->threads[i].tid, &f->threads[i].processors);
}

bool repair_first_has(const struct repair_first *f, pid_t tid)
{
    for (size_t i = 0; f && i < f->n; i++)
        if (f->threads[i].tid == tid)
            return f->threads[i].is_seized;
    return false;
}

struct repair_first *repair_first_free(struct repair_first *f)
{
    free(f);
    return NULL;
}
