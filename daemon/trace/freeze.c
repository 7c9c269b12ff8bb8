/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/freeze.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/trace.h"

static void tell_all(struct process *p)
{
    struct tracee *tracee;

    TAILQ_FOREACH(tracee, &p->tracees, siblings) {
        if (tracee->state != TRACEE_RUNNING && tracee->state != TRACEE_LISTENING)
            continue;
        /* -ESRCH: dying, which a wait will tell. */
        if (!tracee->in_vfork && ptrace_ops_interrupt(tracee->tid) >= 0)
            tracee_apply(tracee, TRACEE_INTERRUPT);
    }
}

/* The next of a walk over all threads, during which any of them may go and others come. Whoever is
 * visited goes to the end of the list, so nothing has to be remembered or allocated. */
static struct tracee *rotate(struct process *p)
{
    struct tracee *tracee = TAILQ_FIRST(&p->tracees);

    if (tracee) {
        TAILQ_REMOVE(&p->tracees, tracee, siblings);
        TAILQ_INSERT_TAIL(&p->tracees, tracee, siblings);
    }
    return tracee;
}

static void collect_all(struct freeze *f)
{
    struct tracee *tracee;

    for (size_t n = f->process->n_tracees; n > 0 && (tracee = rotate(f->process)); n--)
        batch_collect(&f->batch, tracee->tid);
}

static bool any_is_new(const struct process *p)
{
    const struct tracee *tracee;

    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        if (tracee->state == TRACEE_NEW)
            return true;
    return false;
}

/* A creator that is caught in its clone event brings a new thread with it, hence the rounds. */
void freeze_begin(struct freeze *f, struct trace *t, struct process *p)
{
    f->process = p;
    p->n_freezes++;
    p->n_pins++;
    batch_begin(&f->batch, t);
    do {
        tell_all(p);
        collect_all(f);
    } while (any_is_new(p) && f->batch.n_late < BATCH_LATE_MAX);
}

void freeze_end(struct freeze *f)
{
    struct trace *t = f->batch.trace;
    struct process *p = f->process;
    struct tracee *tracee;

    if (--p->n_freezes == 0)
        for (size_t n = p->n_tracees; n > 0 && (tracee = rotate(p)); n--)
            resume_settle(t, tracee);
    batch_end(&f->batch);
    p->n_pins--;
    process_collect(t, p);
}
