/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "daemon/broker/list.h"

/* What a connection has been authorised for: an attachment of a session, and with it the children
 * that are followed from there. The connection that attaches has it; another one of the same user
 * is asked for it anew (Session.AuthorizeProcess), or has nothing of the session but its end. */

struct attachment;
struct caller;

struct clearance {
    struct list of_caller;
    struct list of_attachment;
    struct caller *caller;
    struct attachment *attachment;
    unsigned right; /* enum attach_grant; of a followed child what is one's own, or nothing */
    bool observe;
    bool one_program; /* polkit was told of that alone */
    bool proven;      /* it was proved when it was attached, or that of its parent */
};

/* 0, or -ENOMEM. Who has control already keeps it, and a proof is no more than he has of what was
 * not its user's alone. */
int clearance_give(struct caller *c, struct attachment *a, unsigned right, bool observe);
void clearance_free(struct clearance *clearance);

/* The connection has nothing of the process any more, nor of the session's events. */
void clearance_take_away(struct clearance *clearance);

/* Whether such a right (enum attach_grant) is one to all that the session may trace there. Who may
 * trace a process as it is now need not be: the session keeps one that comes to more than it has,
 * within its grant. A proof is for who proved that he may trace it then, or has as much already. */
bool clearance_is_possible(const struct caller *c, const struct attachment *a, unsigned right,
                           bool observe);

/* The process executes another program, of which nobody was asked: the session has it by more than
 * some of its connections. */
void clearances_end_with_program(struct attachment *a);

/* NULL where it has none. */
const struct clearance *clearance_find(const struct caller *c, const struct attachment *a);

/* Whether it is for all that the session may do there. */
bool clearance_is_enough(const struct clearance *clearance);

/* A child has all those of its parent; its memory was proved by nobody. Out of memory some may be
 * missing. */
int clearances_inherit(struct attachment *child, const struct attachment *parent);
