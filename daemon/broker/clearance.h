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
};

/* 0, or -ENOMEM. Who has control already keeps it. */
int clearance_give(struct caller *c, struct attachment *a, unsigned right, bool observe);
void clearance_free(struct clearance *clearance);

/* NULL where it has none. */
const struct clearance *clearance_find(const struct caller *c, const struct attachment *a);

/* Whether it is for all that the session may do there. */
bool clearance_is_enough(const struct clearance *clearance);

/* A child has all those of its parent; its memory was proved by nobody. Out of memory some may be
 * missing. */
int clearances_inherit(struct attachment *child, const struct attachment *parent);
