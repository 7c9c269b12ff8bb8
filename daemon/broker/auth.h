/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include <systemd/sd-bus.h>

struct attachment;
struct caller;
struct permits;
struct session;

/* Who may do what: one table of all methods, and what is not in it is refused. */

/* Whether a caller may do what its message asks for. `s` is the session that it is about, or NULL.
 * 0, or an error that says what is missing, and its negative errno. */
int auth_check(const struct caller *c, const struct session *s, sd_bus_message *m,
               sd_bus_error *error);

/* Whether nobody has to be asked what a caller may trace: it is root, or the service has no more
 * rights than it. */
bool auth_is_unlimited(const struct caller *c);

/* Whether it may do what the session may with a process, or with all that it traces: it was
 * authorised for each (clearance.h). */
bool auth_may_use(const struct caller *c, const struct attachment *a);
bool auth_may_use_all(const struct caller *c, const struct session *s);
/* The same, and for what has ended, of which events may wait. */
bool auth_may_take_events(const struct caller *c, const struct session *s);

/* Of a persistent session: the first attachment of those that a call is about for which its caller,
 * who is another connection of the session's user, was not authorised; where it is about events,
 * that may be one that is gone (tracee NULL). NULL: none, or asking would not help. */
const struct attachment *auth_lacks(const struct caller *c, const struct session *s,
                                    sd_bus_message *m);

/* Whether a session is shown in a caller's lists, and what it traces. */
bool auth_may_see(const struct caller *c, const struct session *s);
bool auth_may_see_processes(const struct caller *c, const struct session *s);
/* The same, by what was permitted when it asked. */
bool auth_may_be_shown(const struct caller *c, const struct session *s, const struct permits *p);
