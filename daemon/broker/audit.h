/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct attach;
struct attachment;
struct broker;
struct caller;
struct clearance;
struct target;

/* Who traces what, for the journal. Nothing here is left out for being too much: what one user can
 * have written has its bounds where it is asked for, or is counted (audit-user.h). An embedded
 * broker has nobody to tell. */

/* polkit has allowed it. */
void audit_granted(const struct attach *a, const char *action);

/* polkit was asked once more, for what a process of somebody else's has executed. */
void audit_renewed(const struct clearance *by, const struct target *t, const char *action,
                   bool granted);

/* The same, for a call of its own: about a process, or (pid 0) a session. The executable may be
 * NULL. */
void audit_permitted(const struct caller *c, const char *action, const char *session, pid_t pid,
                     const char *executable);

/* `what` was asked for, a polkit action or a method, and is refused. The attach may be NULL. */
void audit_refused(const struct caller *c, const struct attach *a, const char *what);

/* A session traces a process from now on. The attach that brought it there may be NULL: a child
 * that is followed. */
void audit_attached(struct attachment *a, const struct attach *by);

/* It does so no more; why: `detached`, `ended`, `closed`. Or it has lost it: `privilege`, `limit`,
 * `tracer`. */
void audit_released(const struct attachment *a, const char *why);
