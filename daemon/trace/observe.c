/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/observe.h"
#include "daemon/trace/batch.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/trace.h"

struct look {
    struct trace *trace;
    uint64_t now;
    uint64_t next; /* 0: none */
};

static bool has_observer(const struct process *p)
{
    const struct attachment *a;

    TAILQ_FOREACH(a, &p->attachments, by_process)
        if (a->observe)
            return true;
    return false;
}

static void look_at_thread(struct look *look, struct tracee *tracee)
{
    bool let_go = false;

    for (struct engine *e = tracee->engines; e; e = e->next) {
        uint64_t due = e->held_since + OBSERVE_HOLD_USEC;

        if (!e->attachment->observe || !e->held)
            continue;
        if (due <= look->now) {
            e->attachment->has_stopped = false;
            engine_let_go(e);
            let_go = true;
        } else if (look->next == 0 || due < look->next)
            look->next = due;
    }
    if (let_go)
        resume_settle(look->trace, tracee);
}

/* Threads may go as they are let go; the process stays. */
static void look_at_process(struct look *look, struct process *p)
{
    _cleanup_free_ pid_t *tids = NULL;
    size_t n;

    if (batch_list_threads(p, &tids, &n) < 0) {
        look->next = look->now + OBSERVE_HOLD_USEC; /* once more, then */
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct tracee *tracee = tidmap_get(&look->trace->tids, tids[i]);

        if (tracee)
            look_at_thread(look, tracee);
    }
}

uint64_t observe_let_go(struct trace *t)
{
    struct look look = {.trace = t, .now = event_now_usec()};
    struct process *p, *next;

    t->observers_hold = false;
    for (p = TAILQ_FIRST(&t->processes); p; p = next) {
        p->n_pins++;
        if (has_observer(p))
            look_at_process(&look, p);
        next = TAILQ_NEXT(p, processes);
        p->n_pins--;
        process_collect(t, p);
    }
    return look.next;
}
