/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/ctl/json.h"
#include "client/lib/ptraced/ptraced.h"

struct verb;

/* What the command line says. Strings belong to argv. */
struct options {
    bool help;
    bool version;

    bool transport_given;
    enum ptraced_transport transport;
    const char *host; /* of -H, or the machine of -M */
    enum json_mode json;
    bool no_pager;
    bool no_legend;
    bool no_ask_password;
    bool quiet;

    /* of single verbs */
    bool follow;
    const char *output;
    const char *session;
    const char *name;
    bool stop;
    bool all;
    enum ptraced_follow threads;
    unsigned events; /* kinds; 0: all */
    unsigned stops;
    uint64_t lines; /* 0: no limit */
    pid_t *pids;
    size_t n_pids;
};

/* One option, as --help shows it. */
struct option_help {
    const char *name;
    char letter; /* or 0 */
    const char *argument;
    const char *text;
    unsigned verbs; /* VERB_BIT()s of the verbs that take it; 0: every verb does */
};

/* Reads the whole command line. *ret_verb is NULL only with --help or --version, *ret_first the
 * index of the verb's first argument. Returns an exit code, having said what is wrong. The caller
 * ends *o with options_done() in any case. */
int options_parse(struct options *o, int argc, char **argv, const struct verb **ret_verb,
                  int *ret_first);

void options_done(struct options *o);

/* Number i of the table; false past the last. */
bool options_help_at(size_t i, struct option_help *ret);
