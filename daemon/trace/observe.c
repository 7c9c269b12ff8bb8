/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/observe.h"
#include "daemon/trace/batch.h"
#include "daemon/trace/grant.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/trace.h"

struct look {
    struct trace *trace;
    uint64_t now;
    uint64_t next; /* 0: none */
};

/* ---- The time that there is ----------------------------------------------------------------- */

static uint64_t left_at(const struct observe_time *t, uint64_t now)
{
    uint64_t passed = now > t->at_usec ? now - t->at_usec : 0;

    if (t->at_usec == 0)
        return OBSERVE_HOLD_USEC;
    if (t->n_held > 0)
        return t->left_usec > passed ? t->left_usec - passed : 0;
    return t->left_usec + passed / 2 < OBSERVE_HOLD_USEC ? t->left_usec + passed / 2
                                                         : OBSERVE_HOLD_USEC;
}

static void count(struct observe_time *t, int more)
{
    uint64_t now = event_now_usec();

    t->left_usec = left_at(t, now);
    t->at_usec = now;
    t->n_held += (unsigned)more;
}

void observe_begins(const struct attachment *a, const struct grant *g)
{
    struct observe_time *t = &a->process->observe_time;

    if (!a->observe || !g || t->at_usec != 0)
        return;
    t->at_usec = event_now_usec();
    t->left_usec = g->observe_usec < OBSERVE_HOLD_USEC ? g->observe_usec : OBSERVE_HOLD_USEC;
}

void observe_follows(struct process *child, const struct process *parent)
{
    struct observe_time *t = &child->observe_time;
    uint64_t now = event_now_usec();

    if (t->at_usec != 0)
        return;
    t->left_usec = left_at(&parent->observe_time, now);
    t->at_usec = now;
}

uint64_t observe_left(const struct attachment *a)
{
    return a->observe ? left_at(&a->process->observe_time, event_now_usec()) : UINT64_MAX;
}

bool observe_may_hold(const struct attachment *a)
{
    const struct observe_time *t = &a->process->observe_time;

    return !a->observe || left_at(t, event_now_usec()) > (t->n_held > 0 ? 0 : OBSERVE_LEAST_USEC);
}

void observe_holds(const struct attachment *a)
{
    if (a->observe)
        count(&a->process->observe_time, 1);
}

void observe_lets_go(const struct attachment *a)
{
    if (a->observe && a->process->observe_time.n_held > 0)
        count(&a->process->observe_time, -1);
}

void observe_ends(struct attachment *a)
{
    const struct tracee *tracee;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        const struct engine *e = engine_find(tracee, a);

        if (e && e->held)
            observe_lets_go(a);
    }
    a->observe = false;
}

/* ---- When it is over ------------------------------------------------------------------------ */

static bool is_held(const struct process *p)
{
    return p->observe_time.n_held > 0;
}

static void look_at_thread(struct look *look, struct tracee *tracee)
{
    bool let_go = false;

    for (struct engine *e = tracee->engines; e; e = e->next) {
        struct attachment *a = e->attachment;
        uint64_t left;

        if (!a->observe || !e->held)
            continue;
        left = left_at(&a->process->observe_time, look->now);
        if (left == 0) {
            a->has_stopped = false;
            engine_let_go(e);
            let_go = true;
        } else if (look->next == 0 || look->now + left < look->next)
            look->next = look->now + left;
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
        if (is_held(p))
            look_at_process(&look, p);
        next = TAILQ_NEXT(p, processes);
        p->n_pins--;
        process_collect(t, p);
    }
    return look.next;
}
