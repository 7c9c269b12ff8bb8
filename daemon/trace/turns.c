/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/wait.h>

#include "daemon/trace/trace.h"
#include "daemon/trace/turns.h"
#include "daemon/trace/wait.h"

void turns_init(struct turns *u)
{
    *u = (struct turns){0};
    TAILQ_INIT(&u->lively);
    TAILQ_INIT(&u->others);
}

void turns_add(struct turns *u, struct tracee *tracee)
{
    tracee->lively = false;
    TAILQ_INSERT_TAIL(&u->others, tracee, turns);
}

void turns_remove(struct turns *u, struct tracee *tracee)
{
    if (tracee->lively) {
        TAILQ_REMOVE(&u->lively, tracee, turns);
        u->n_lively--;
    } else
        TAILQ_REMOVE(&u->others, tracee, turns);
}

static void move_to_tail(struct turns *u, struct tracee *tracee, bool lively)
{
    turns_remove(u, tracee);
    turns_add(u, tracee);
    if (!lively)
        return;
    TAILQ_REMOVE(&u->others, tracee, turns);
    TAILQ_INSERT_TAIL(&u->lively, tracee, turns);
    tracee->lively = true;
    tracee->turn_at = u->n_served;
    u->n_lively++;
}

/* As if it had waited for very long. */
void turns_hurry(struct turns *u, struct tracee *tracee)
{
    move_to_tail(u, tracee, true);
    TAILQ_REMOVE(&u->lively, tracee, turns);
    TAILQ_INSERT_HEAD(&u->lively, tracee, turns);
    tracee->turn_at = u->n_served - UINT32_MAX / 2;
    u->hurried_at = u->n_served;
    tracee->n_missed = 0;
}

static void has_reported(struct turns *u, struct tracee *tracee)
{
    u->n_served++;
    tracee->n_missed = 0;
    move_to_tail(u, tracee, true);
}

/* Who is told to stop stays: that may take a while, but no longer than it has to. */
static void has_missed(struct turns *u, struct tracee *tracee)
{
    bool stays = tracee->state == TRACEE_STOPPING || ++tracee->n_missed < TURNS_MISSES_MAX;

    move_to_tail(u, tracee, tracee->lively && stays);
}

/* NULL: the wildcard may tell. */
static struct tracee *whose_turn(struct turns *u)
{
    struct tracee *first = TAILQ_FIRST(&u->lively);

    if (first && first->state == TRACEE_STOPPING && u->n_served == u->hurried_at)
        return NULL;
    if (first && u->n_served - first->turn_at >= 2 * u->n_lively)
        return first;
    if (u->n_served - u->others_at < TURNS_OTHERS_EVERY)
        return NULL;
    u->others_at = u->n_served;
    return TAILQ_FIRST(&u->others);
}

static int look(struct turns *u, siginfo_t *ret)
{
    struct tracee *tracee = whose_turn(u);

    if (!tracee)
        return 0;
    /* Negative: its id is gone by an exec, which the leader's next report tells. */
    if (wait_thread(tracee->tid, WNOHANG | WNOWAIT, ret) <= 0) {
        has_missed(u, tracee);
        return 0;
    }
    has_reported(u, tracee);
    u->n_looks++;
    return 1;
}

int trace_next(struct trace *t, int flags, siginfo_t *ret)
{
    struct turns *u = &t->turns;
    struct tracee *tracee;
    int r;

    if (u->n_looks < TURNS_LOOKS_MAX && look(u, ret) > 0)
        return 1;
    u->n_looks = 0;
    r = wait_any(flags | WNOWAIT, ret);
    tracee = r > 0 ? tidmap_get(&t->tids, ret->si_pid) : NULL;
    if (tracee)
        has_reported(u, tracee);
    else if (r > 0)
        u->n_served++;
    return r;
}
