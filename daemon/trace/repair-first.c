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
    bool is_seized;
};

struct repair_first {
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

/* -1: there is none that all have. More than CPU_SETSIZE processors are refused by the kernel. */
static int choose_processor(struct repair_first *f, pid_t tracer)
{
    cpu_set_t common;

    if (sched_getaffinity(0, sizeof(f->processors), &f->processors) < 0 ||
        sched_getaffinity(tracer, sizeof(common), &common) < 0)
        return -1;
    CPU_AND(&common, &common, &f->processors);
    for (size_t i = 0; i < f->n; i++) {
        struct endangered *e = &f->threads[i];

        if (sched_getaffinity(e->tid, sizeof(e->processors), &e->processors) < 0)
            return -1;
        CPU_AND(&common, &common, &e->processors);
    }
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &common))
            return i;
    return -1;
}

/* Above the tracer, which may be in that class too (batch.c). */
static bool raise_class(struct repair_first *f)
{
    const struct sched_param above = {.sched_priority = sched_get_priority_min(SCHED_FIFO) + 1};

    f->policy = sched_getscheduler(0);
    return f->policy >= 0 && sched_getparam(0, &f->param) >= 0 &&
           sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &above) >= 0;
}

/* The flag stays, as in batch.c. */
static void lower_class(const struct repair_first *f)
{
    (void)sched_setscheduler(0, (f->policy & ~SCHED_RESET_ON_FORK) | SCHED_RESET_ON_FORK,
                             &f->param);
}

static void give_processors_back(const struct repair_first *f)
{
    (void)sched_setaffinity(0, sizeof(f->processors), &f->processors);
    for (size_t i = 0; i < f->n; i++)
        (void)sched_setaffinity(f->threads[i].tid, sizeof(f->threads[i].processors),
                                &f->threads[i].processors);
}

static bool gather_on(struct repair_first *f, pid_t tracer, int processor)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (sched_setaffinity(tracer, sizeof(one), &one) < 0 ||
        sched_setaffinity(0, sizeof(one), &one) < 0)
        return false;
    for (size_t i = 0; i < f->n; i++)
        if (sched_setaffinity(f->threads[i].tid, sizeof(one), &one) < 0)
            return false;
    return true;
}

void repair_first_prepare(pid_t tracer, const struct patient *patients, size_t n,
                          struct repair_first **ret)
{
    struct repair_first *f = calloc(1, sizeof(*f));
    int processor;

    *ret = NULL;
    if (!f)
        return;
    for (size_t i = 0; i < n; i++)
        (void)proc_for_each_thread(patients[i].process.pid, add_if_endangered, f);
    processor = f->n > 0 ? choose_processor(f, tracer) : -1;
    if (processor < 0 || !raise_class(f)) {
        free(f);
        return;
    }
    if (!gather_on(f, tracer, processor)) {
        give_processors_back(f);
        lower_class(f);
        free(f);
        return;
    }
    *ret = f;
}

void repair_first_seize(struct repair_first *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n; i++)
        f->threads[i].is_seized = ptrace_ops_seize(f->threads[i].tid, 0) >= 0;
    give_processors_back(f);
    lower_class(f);
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
