/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/chaperone.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/space.h"
#include "daemon/trace/trace.h"

bool chaperone_is_needed(const struct tracee *tracee)
{
    return tracee->process && space_has_locations(tracee->process->space);
}

static void release_in(struct trace *t, struct process *p)
{
    struct tracee *tracee, *next;

    if (space_has_locations(p->space))
        return;
    p->n_tracees++; /* the last one that is let go would free the process */
    for (tracee = TAILQ_FIRST(&p->tracees); tracee; tracee = next) {
        next = TAILQ_NEXT(tracee, siblings);
        if (!tracee->engines)
            resume_release(t, tracee);
    }
    p->n_tracees--;
    process_collect(t, p);
}

void chaperone_release(struct trace *t, struct process *p)
{
    struct process *other, *next;

    if (space_has_locations(p->space))
        return;
    for (other = TAILQ_FIRST(&t->processes); other; other = next) {
        next = TAILQ_NEXT(other, processes);
        if (other != p && p->space && other->space == p->space)
            release_in(t, other);
    }
    release_in(t, p);
}

void chaperone_release_all(struct trace *t)
{
    struct process *p, *next;

    t->chaperones_due = false;
    for (p = TAILQ_FIRST(&t->processes); p; p = next) {
        next = TAILQ_NEXT(p, processes);
        release_in(t, p);
    }
}
