/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

/* Everything that a client can make the broker keep is counted, and has its limit here. */

enum limit {
    LIMIT_SESSIONS,     /* for each user */
    LIMIT_TRACEES,      /* processes, for each user */
    LIMIT_TRACERS,      /* for each user but root; the keeper counts them */
    LIMIT_ATTACHES,     /* within a minute, for each user but root */
    LIMIT_NEW_SESSIONS, /* within a minute, for each user but root */
    LIMIT_THREADS,      /* that sessions trace, for each user; the tracers count them */
    LIMIT_BREAKPOINTS,  /* the same */
    LIMIT_EVENTS,       /* that wait, the same */
    LIMIT_FLIGHT,       /* KiB of calls under way to tracers, for each user but root */
    LIMIT_KEPT,         /* MiB in files of memory that are kept, for each user but root */
    LIMIT_OBSERVE,      /* milliseconds, see allowance.h */
    LIMIT_RAISED,       /* the same */
    LIMIT_SUBSCRIBERS,  /* for each session */
    LIMIT_WAITERS,      /* GetEvent calls that wait, for each session */
    LIMIT_ROUTED,       /* calls under way to one tracer */
    LIMIT_UNREAD,       /* messages that the client, or the bus, has not read yet */
    LIMIT_QUESTIONS,    /* to polkit under way, for each user */
    LIMIT_GATHERED,     /* calls under way for what several tracers answer, for each user */
    LIMIT_CALLERS,      /* of the bus that the broker has to remember, but for some of root's */
    LIMIT_USER_CALLERS, /* the same, for each user but root */
    LIMIT_UNCHECKED,    /* calls of one caller that wait until the bus has told who it is */
    _LIMIT_MAX,
};

/* Longest session name, in bytes and before escaping. */
#define SESSION_NAME_MAX 64u

unsigned limit_value(enum limit limit);

/* Sets one by the name that its error has, such as SessionsMax; before anything is counted.
 * -ENOENT: there is none of that name, or it is not for the administrator to set; -ERANGE: not
 * between 1 and limit_most(). */
int limit_set(const char *name, unsigned value);
#define LIMIT_VALUE_MAX 100000u

/* What it can be at the most: LIMIT_VALUE_MAX, or less. */
unsigned limit_most(const char *name);

/* What an administrator sets while the broker runs, which goes before the file and ends with the
 * broker; what the file says is no change. Errors as above. */
int limit_change(const char *name, uint64_t value, unsigned *ret_before);
/* Whether that would work: 0, or the same errors. */
int limit_check_change(const char *name, uint64_t value);
/* Whether anything is changed, and would be lost with the broker. */
bool limits_are_changed(void);

/* False: it is not for the administrator to set. */
bool limit_describe(enum limit limit, const char **ret_name, const char **ret_what);

/* 0 where one more may be added to `used`, else Error.LimitExceeded, which names the limit and what
 * to do, and its negative errno. */
int limit_check(enum limit limit, size_t used, sd_bus_error *error);
