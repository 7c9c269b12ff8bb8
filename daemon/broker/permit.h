/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include <systemd/sd-bus.h>

struct caller;
struct permit_wait;

/* What takes a permission of polkit's before a call is handled at all, of callers who are not root:
 *
 *     list         to see what one's own user traces by other connections: lists alone
 *     list-other   to see what other users trace: lists alone
 *     manage       to look at, and to end, another user's session; to set a limit
 *     open-memory  to have descriptors of a process that the session controls, which nobody can
 * take back; open-memory-other where that is not the user's own
 *
 * and, in a persistent session, what another connection has attached (clearance.h).
 *
 * The call is put by, comes back with what has been permitted, and is handled with that. A list is
 * never asked about in a dialog: who may see less is shown less. Who has proved that the kernel
 * would let him open the memory himself is not asked for that. */

struct permits {
    bool list;
    bool list_other;
    bool manage;
    bool memory;
    bool events; /* of what has ended */
};

/* For a call that has just come, or come back: 0 where it can be handled, with c->permits; 1 where
 * it has been put by; or an error. */
int permit_first(struct caller *c, sd_bus_message *m, sd_bus_error *error);

/* Whether it is a call that has been asked about. */
bool permit_has_come_back(const struct caller *c, const sd_bus_message *m);

/* Nobody is to be asked any more, and what has been permitted is of no use: the caller has left. */
void permit_cancel(struct caller *c);
