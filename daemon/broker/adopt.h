/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct broker;

/* A broker that has been started anew asks the keeper for the tracers that live, and each of them
 * for its sessions, which are then as before; but for what was never at a tracer (a session that
 * has traced nothing yet, events on their way, who else had subscribed). The sessions of a caller
 * that has left meanwhile are closed. Once all have told, or the time-out is over, broker_serve()
 * is called; a tracer that answers even later is adopted then. */
int adopt_start(struct broker *b);

/* Asks the keeper, to which there is a connection, if it has not told all of its tracers before: it
 * may have been out of reach, have served the broker before us still, or have had no descriptors.
 * Those that are never asked for would be held, and what they trace, by nobody. */
void adopt_missed(struct broker *b);
