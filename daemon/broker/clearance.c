/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/broker/attach.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/events.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"

static struct clearance *find(const struct caller *c, const struct attachment *a)
{
    LIST_FOREACH(struct clearance, clearance, &a->clearances, of_attachment)
        if (clearance->caller == c)
            return clearance;
    return NULL;
}

const struct clearance *clearance_find(const struct caller *c, const struct attachment *a)
{
    return find(c, a);
}

static bool covers(const struct clearance *clearance, bool observe)
{
    return observe || !clearance->observe;
}

int clearance_give(struct caller *c, struct attachment *a, unsigned right, bool observe)
{
    struct clearance *clearance = find(c, a);
    bool one_program = right == ATTACH_OTHER;

    if (clearance && !clearance->observe && (observe || (one_program && !clearance->one_program)))
        return 0;
    if (clearance && covers(clearance, observe) && !a->plain && right == ATTACH_PROVEN &&
        !clearance->proven)
        return 0;
    if (!clearance) {
        clearance = malloc(sizeof(*clearance));
        if (!clearance)
            return -ENOMEM;
        *clearance = (struct clearance){.caller = c, .attachment = a};
        list_append(&c->clearances, &clearance->of_caller);
        list_append(&a->clearances, &clearance->of_attachment);
    }
    clearance->right = right;
    clearance->observe = observe;
    clearance->one_program = one_program;
    clearance->proven |= right == ATTACH_PROVEN;
    return 0;
}

void clearance_free(struct clearance *clearance)
{
    list_remove(&clearance->of_caller);
    list_remove(&clearance->of_attachment);
    free(clearance);
}

void clearance_take_away(struct clearance *clearance)
{
    struct session *s = clearance->attachment->session;

    session_unsubscribe(s, clearance->caller);
    events_refuse(s, clearance->caller);
    clearance_free(clearance);
}

bool clearance_is_possible(const struct caller *c, const struct attachment *a, unsigned right,
                           bool observe)
{
    const struct clearance *clearance = find(c, a);

    if (a->plain || (right != ATTACH_OWN && right != ATTACH_PROVEN))
        return true;
    return right == ATTACH_PROVEN && clearance && (covers(clearance, observe) || clearance->proven);
}

void clearances_end_with_program(struct attachment *a)
{
    LIST_FOREACH(struct clearance, clearance, &a->clearances, of_attachment)
        if (clearance->one_program)
            clearance_take_away(clearance);
}

bool clearance_is_enough(const struct clearance *clearance)
{
    return clearance && (!clearance->observe || clearance->attachment->observe);
}

/* The grant holds a child to what its parent was. */
static unsigned right_to_child(const struct clearance *c)
{
    bool knows_it = c->right == ATTACH_OWN || c->right == ATTACH_PROVEN;

    return knows_it && c->attachment->asks_own ? ATTACH_OWN : ATTACH_NOTHING;
}

int clearances_inherit(struct attachment *child, const struct attachment *parent)
{
    int r, error = 0;

    LIST_FOREACH(struct clearance, clearance, &parent->clearances, of_attachment) {
        struct clearance *to_child;

        r = clearance_give(clearance->caller, child, right_to_child(clearance), clearance->observe);
        to_child = find(clearance->caller, child);
        if (r < 0 || !to_child) {
            error = r;
            continue;
        }
        to_child->one_program = clearance->one_program;
        to_child->proven = clearance->proven;
    }
    return error;
}
