/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "daemon/broker/polkit.h"

struct attach;
struct attachment;
struct broker;
struct caller;
struct clearance;
struct target;

/* Who traces what, for the journal. Nothing here is left out for being too much: what one user can
 * have written has its bounds where it is asked for, or is counted (audit-user.h). An embedded
 * broker has nobody to tell. */

/* polkit has allowed it, or it has sent a proof. */
void audit_granted(const struct attach *a, const char *action);

/* polkit was asked once more, for what a process of somebody else's has executed. */
void audit_renewed(const struct clearance *by, const struct target *t, const char *action,
                   enum polkit_verdict verdict);

/* What polkit was asked for one call, or not asked. */
struct audit_question {
    const char *action;     /* or "proof", or PTRACED_AUDIT_ROOT */
    const char *session;    /* "": it is of a list */
    pid_t pid;              /* 0: it is of the session */
    const char *executable; /* NULL: unknown */
    const char *access;     /* NULL: it has none */
    const char *limit;      /* that is to be set, to this; NULL: it is about none */
    uint64_t value;
};

void audit_permitted(const struct caller *c, const struct audit_question *q);
/* `why`: as with audit_refused(). */
void audit_forbidden(const struct caller *c, const struct audit_question *q, const char *why);

/* A limit is set, and was something else before. */
void audit_limit_set(const struct caller *c, const char *name, unsigned value, unsigned before);

/* `what` was asked for with an attach, a polkit action or a kind of proof, and is refused; `why` is
 * what the caller is told. */
void audit_refused(const struct caller *c, const struct attach *a, const char *what,
                   const char *why);

/* The same, of any call. */
void audit_call_refused(const struct caller *c, sd_bus_message *call, const char *why);

/* A call comes to `r` and, where that is negative, to the error. One that says that a limit is
 * reached, or that somebody who is not root asks for what is not there or cannot be understood, is
 * a refusal too. Returns r. The caller may be NULL: it has left. */
int audit_failed(const struct caller *c, sd_bus_message *call, int r, const sd_bus_error *error);

/* A session traces a process from now on. The attach that brought it there may be NULL: a child
 * that is followed. */
void audit_attached(struct attachment *a, const struct attach *by);

/* It does so no more; why: `detached`, `ended`, `closed`. Or it has lost it: `privilege`, `limit`,
 * `tracer`. */
void audit_released(const struct attachment *a, const char *why);
