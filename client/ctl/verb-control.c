/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/parse.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

/* interrupt, continue and detach: three calls of the library with one form. */

struct action {
    int (*call)(ptraced_session *s, pid_t pid, pid_t tid);
    const char *verb;
    const char *nothing; /* what 0 means for a single thread */
    bool asks;           /* to do it to a whole session takes what a process takes */
};

static int act(struct context *c, const struct action *a, ptraced_session *session, pid_t pid,
               pid_t tid)
{
    int r;

    r = a->call(session, pid, tid);
    if (r < 0 && tid > 0)
        return report_failure(c, r, pid, "Failed to %s thread %d of process %d", a->verb, tid, pid);
    if (r < 0 && pid > 0)
        return report_failure(c, r, pid, "Failed to %s process %d", a->verb, pid);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to %s all of session %s", a->verb,
                              ptraced_session_get_id(session));
    if (r == 0 && tid > 0)
        report_notice(&c->options, "Thread %d %s.", tid, a->nothing);
    return CTL_OK;
}

static int act_on_session(struct context *c, const struct action *a, const char *id)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    int r;

    r = lookup_session(c, id, &session);
    if (r == CTL_OK && a->asks)
        r = lookup_authorize(c, session, 0);
    return r == CTL_OK ? act(c, a, session, 0, 0) : r;
}

/* Without -s: the caller's own sessions. Root sees everybody's, and would hardly mean those. */
static int act_on_all(struct context *c, const struct action *a)
{
    enum ptraced_transport transport = ptraced_get_transport(c->connection);
    _cleanup_(lookup_done) struct lookup l = {0};
    int r, first = CTL_OK;

    if (c->options.session)
        return act_on_session(c, a, c->options.session);
    if (transport == PTRACED_TRANSPORT_REMOTE || transport == PTRACED_TRANSPORT_MACHINE)
        return report_usage("Elsewhere --all needs -s: which sessions are yours there?");
    r = lookup_read(c, &l);
    if (r != CTL_OK)
        return r;
    for (int i = 0; i < l.n_sessions; i++) {
        if (l.sessions[i].uid != geteuid())
            continue;
        r = act_on_session(c, a, l.sessions[i].id);
        if (first == CTL_OK)
            first = r;
    }
    return first;
}

static int act_on_target(struct context *c, const struct action *a, const struct lookup *l,
                         const char *target)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    pid_t pid, tid;
    int r;

    r = parse_target(target, &pid, &tid);
    if (r < 0)
        return report_usage("Neither a PID nor PID:TID: '%s'", target);
    r = lookup_session_of(c, l, pid, &session);
    if (r == CTL_OK)
        r = lookup_authorize(c, session, pid);
    return r == CTL_OK ? act(c, a, session, pid, tid) : r;
}

static int check_arguments(const struct context *c, int n_arguments, char **arguments)
{
    pid_t pid, tid;

    if (c->options.all && n_arguments > 0)
        return report_usage("Either --all or process ids, not both.");
    if (!c->options.all && n_arguments == 0)
        return report_usage("Which process? ptracectl %s %s", c->verb->name, c->verb->arguments);
    for (int i = 0; i < n_arguments; i++)
        if (parse_target(arguments[i], &pid, &tid) < 0)
            return report_usage("Neither a PID nor PID:TID: '%s'", arguments[i]);
    return CTL_OK;
}

static int control(struct context *c, const struct action *a, int n_arguments, char **arguments)
{
    _cleanup_(lookup_done) struct lookup l = {0};
    int r, first = CTL_OK;

    r = check_arguments(c, n_arguments, arguments);
    if (r == CTL_OK)
        r = context_connect(c);
    if (r != CTL_OK)
        return r;
    if (c->options.all)
        return act_on_all(c, a);
    if (!c->options.session) {
        r = lookup_read(c, &l);
        if (r != CTL_OK)
            return r;
    }
    for (int i = 0; i < n_arguments; i++) {
        r = act_on_target(c, a, &l, arguments[i]);
        if (first == CTL_OK)
            first = r;
    }
    return first;
}

int verb_interrupt(struct context *c, int n_arguments, char **arguments)
{
    static const struct action action = {ptraced_interrupt, "interrupt", "was stopped already",
                                         true};

    return control(c, &action, n_arguments, arguments);
}

int verb_continue(struct context *c, int n_arguments, char **arguments)
{
    static const struct action action = {ptraced_continue, "continue",
                                         "was not stopped by the session", true};

    return control(c, &action, n_arguments, arguments);
}

int verb_detach(struct context *c, int n_arguments, char **arguments)
{
    static const struct action action = {ptraced_detach, "detach from", "was not attached any more",
                                         false};

    return control(c, &action, n_arguments, arguments);
}
