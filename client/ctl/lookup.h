/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "client/lib/ptraced/ptraced.h"

struct context;

/* What the service holds, as far as the caller may see it, and what of it the user means. The
 * functions that return a number return an exit code, having said what is wrong. */

struct lookup {
    struct ptraced_session_info *sessions;
    struct ptraced_tracee_info *tracees;
    int n_sessions, n_tracees;
};

int lookup_read(struct context *c, struct lookup *ret);
/* Of sessions alone, and without a word as far as it cannot. */
void lookup_try_sessions(struct context *c, struct lookup *ret);
void lookup_done(struct lookup *l);

/* Arguments are session ids and process ids. Checks that each names something that is there. */
int lookup_check(const struct lookup *l, int n_arguments, char *const arguments[]);

/* Whether the arguments mean this tracee, by its pid or its session. Without arguments: all. */
bool lookup_means(const struct ptraced_tracee_info *tracee, int n_arguments,
                  char *const arguments[]);

/* Whether it is in the list; and as one of the caller's user. */
bool lookup_has_session(const struct lookup *l, const char *id);
bool lookup_is_own(const struct lookup *l, const char *id);

/* Takes up a session by its id, having checked that it is one; and subscribes to its events. */
int lookup_session(struct context *c, const char *id, ptraced_session **ret);
int lookup_session_events(struct context *c, const char *id, ptraced_session **ret);

/* Whether the service asks who may use what other connections have attached: not root, nor who it
 * runs as. */
bool lookup_is_asked(struct context *c);

/* Where the service asks, of what another ptracectl has attached: has it ask about a process of the
 * session, or about all of them (pid 0). */
int lookup_authorize(struct context *c, ptraced_session *session, pid_t pid);
/* The same of all, as far as nobody has to be asked, and without a word. */
void lookup_try_authorize(struct context *c, const struct lookup *l, ptraced_session *session);

/* The session to use for a process: that of -s, else the one that traces it. Several: an error
 * that names them. */
int lookup_session_of(struct context *c, const struct lookup *l, pid_t pid, ptraced_session **ret);
