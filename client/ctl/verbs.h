/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct context;

enum verb_id {
    VERB_RUN,
    VERB_EVENTS,
    VERB_ATTACH,
    VERB_SESSIONS,
    VERB_STATUS,
    VERB_THREADS,
    VERB_INTERRUPT,
    VERB_CONTINUE,
    VERB_DETACH,
    VERB_CLOSE,
    VERB_LIMITS,
    VERB_LOG,
};

#define VERB_BIT(id) (1u << (id))

struct verb {
    const char *name;
    enum verb_id id;
    const char *arguments; /* for the usage line, and in the message when one is missing */
    const char *summary;
    int min_arguments;
    int max_arguments; /* -1: any number */
    bool embedded;     /* makes sense with a broker of its own, which ends with the command */
    /* Returns the exit code; what went wrong has been reported by then. */
    int (*run)(struct context *c, int n_arguments, char **arguments);
};

/* The verb of that name, or NULL. */
const struct verb *verb_find(const char *name);

/* The verb that was probably meant, or NULL. */
const struct verb *verb_nearest(const char *name);

/* Number i of the table, in the order of --help; NULL past the last. */
const struct verb *verb_at(size_t i);

int verb_run(struct context *c, int n_arguments, char **arguments);
int verb_events(struct context *c, int n_arguments, char **arguments);
int verb_attach(struct context *c, int n_arguments, char **arguments);
int verb_sessions(struct context *c, int n_arguments, char **arguments);
int verb_status(struct context *c, int n_arguments, char **arguments);
int verb_threads(struct context *c, int n_arguments, char **arguments);
int verb_interrupt(struct context *c, int n_arguments, char **arguments);
int verb_continue(struct context *c, int n_arguments, char **arguments);
int verb_detach(struct context *c, int n_arguments, char **arguments);
int verb_close(struct context *c, int n_arguments, char **arguments);
int verb_limits(struct context *c, int n_arguments, char **arguments);
int verb_log(struct context *c, int n_arguments, char **arguments);
