/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "daemon/broker/list.h"

struct broker;

/* How much of one user the journal is told, so that nobody can drown the others in it:
 *
 *     what a user asks for         has an entry each, and there are only so many attaches a minute
 *     permissions for one call     the first of a minute are written, and the others counted
 *     refusals, lists              one is written, and what follows closely is counted
 *     children that are followed   the first of a minute are written, and the others counted
 *
 * What was counted is written every few seconds, as one entry; of refusals with the last of them.
 */

struct audit_users {
    struct list users;
    unsigned n;
};

/* What was refused, to whom. Of those that are counted the last is told. */
struct audit_refusal {
    const char *caller; /* its name on the bus */
    const char *action;
    const char *session;    /* "": none */
    pid_t pid;              /* 0: none */
    const char *executable; /* NULL: unknown */
};

void audit_users_init(struct audit_users *a);
/* Writes what has been counted. */
void audit_users_done(struct audit_users *a);

/* 0: it may attach, be authorised for what is attached, or make a session, once more, which is
 * counted; else Error.LimitExceeded. Of sessions the bus is told, whoever listens. */
int audit_user_attach(struct broker *b, uid_t uid, sd_bus_error *error);
int audit_user_join(struct broker *b, uid_t uid, sd_bus_error *error);
int audit_user_session(struct broker *b, uid_t uid, sd_bus_error *error);

/* Whether it is to be written; else it has been counted. */
bool audit_user_refused(struct broker *b, uid_t uid, const struct audit_refusal *what);
/* The same of a call that was wrong, or one too many: it takes no place of what polkit refuses. */
bool audit_user_call_refused(struct broker *b, uid_t uid, const struct audit_refusal *what);
/* The same of a call about what is not there, as processes end at any time. */
bool audit_user_call_missed(struct broker *b, uid_t uid, const struct audit_refusal *what);
bool audit_user_followed(struct broker *b, uid_t uid);
bool audit_user_permitted(struct broker *b, uid_t uid);
/* The same, to see a list; which, the action says. One that is refused takes no other refusal's
 * place. */
bool audit_user_listed(struct broker *b, uid_t uid, const char *action);
bool audit_user_list_refused(struct broker *b, uid_t uid, const struct audit_refusal *what);

/* A child that was followed, and counted, is traced no more. */
void audit_user_released(struct broker *b, uid_t uid);
