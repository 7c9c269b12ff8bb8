/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "client/ctl/agent.h"
#include "client/ctl/attach.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/parse.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

static int open_session(struct context *c, ptraced_session **ret)
{
    const struct options *o = &c->options;
    int r;

    if (o->session)
        return lookup_session(c, o->session, ret);
    r = ptraced_session_new(c->connection, o->name, PTRACED_SESSION_PERSISTENT, ret);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to make a session");
    return CTL_OK;
}

/* Goes on after a failure. *ret_n is how many were attached. */
static int attach_all(struct context *c, ptraced_session *session, const pid_t *pids, size_t n_pids,
                      unsigned *ret_n)
{
    int r, first = CTL_OK;
    struct attach attach;

    *ret_n = 0;
    attach_init(&attach, &c->options, c->options.events);
    for (size_t i = 0; i < n_pids; i++) {
        r = ptraced_attach(session, pids[i], &attach.options);
        if (r >= 0) {
            (*ret_n)++;
            continue;
        }
        r = report_failure(c, r, pids[i], "Failed to attach to process %d", pids[i]);
        if (first == CTL_OK)
            first = r;
    }
    return first;
}

static void print_session(const struct options *o, const char *id)
{
    struct json j;

    if (o->json == JSON_OFF) {
        puts(id);
        return;
    }
    json_start(&j, stdout, o->json);
    json_open_object(&j, NULL);
    json_string(&j, "session", id);
    json_close_object(&j);
}

static int parse_arguments(const struct context *c, int n_arguments, char **arguments,
                           pid_t **ret_pids)
{
    _cleanup_free_ pid_t *pids = calloc((size_t)n_arguments, sizeof(*pids));

    if (!pids)
        return report_no_memory();
    if (c->options.session && c->options.name)
        return report_usage("--name is for a new session, and -s for one that exists.");
    for (int i = 0; i < n_arguments; i++)
        if (parse_pid(arguments[i], &pids[i]) < 0)
            return report_usage("Not a process id: '%s'", arguments[i]);
    *ret_pids = pids;
    pids = NULL;
    return CTL_OK;
}

int verb_attach(struct context *c, int n_arguments, char **arguments)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    _cleanup_free_ pid_t *pids = NULL;
    unsigned n;
    int r;

    r = parse_arguments(c, n_arguments, arguments, &pids);
    if (r == CTL_OK)
        r = context_connect(c);
    if (r == CTL_OK)
        r = open_session(c, &session);
    if (r != CTL_OK)
        return r;
    agent_open(c, pids, (size_t)n_arguments);
    r = attach_all(c, session, pids, (size_t)n_arguments, &n);
    agent_close();
    if (n > 0)
        print_session(&c->options, ptraced_session_get_id(session));
    else if (!c->options.session)
        ptraced_session_close(session);
    return r;
}
