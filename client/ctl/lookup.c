/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/paths.h"
#include "client/ctl/agent.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/parse.h"
#include "client/ctl/report.h"

int lookup_read(struct context *c, struct lookup *ret)
{
    struct lookup l = {0};

    l.n_sessions = ptraced_list_sessions(c->connection, &l.sessions);
    if (l.n_sessions < 0)
        return report_failure(c, l.n_sessions, 0, "Failed to list sessions");
    l.n_tracees = ptraced_list_tracees(c->connection, &l.tracees);
    if (l.n_tracees < 0) {
        free(l.sessions);
        return report_failure(c, l.n_tracees, 0, "Failed to list traced processes");
    }
    *ret = l;
    return CTL_OK;
}

void lookup_try_sessions(struct context *c, struct lookup *ret)
{
    int n;

    *ret = (struct lookup){0};
    n = ptraced_list_sessions(c->connection, &ret->sessions);
    ret->n_sessions = n < 0 ? 0 : n;
}

void lookup_done(struct lookup *l)
{
    free(l->sessions);
    free(l->tracees);
    *l = (struct lookup){0};
}

static int check_pid(const struct lookup *l, pid_t pid)
{
    for (int i = 0; i < l->n_tracees; i++)
        if (l->tracees[i].pid == pid)
            return CTL_OK;
    report_error("Process %d is traced by no session that you may see.", pid);
    return CTL_NOT_FOUND;
}

static const struct ptraced_session_info *find_session(const struct lookup *l, const char *id)
{
    for (int i = 0; i < l->n_sessions; i++)
        if (strcmp(l->sessions[i].id, id) == 0)
            return &l->sessions[i];
    return NULL;
}

bool lookup_has_session(const struct lookup *l, const char *id)
{
    return find_session(l, id) != NULL;
}

bool lookup_is_own(const struct lookup *l, const char *id)
{
    const struct ptraced_session_info *s = find_session(l, id);

    return s && s->uid == geteuid();
}

static int check_session(const struct lookup *l, const char *id)
{
    if (lookup_has_session(l, id))
        return CTL_OK;
    report_error("There is no session '%s'. 'ptracectl sessions' lists them.", id);
    return CTL_NOT_FOUND;
}

int lookup_check(const struct lookup *l, int n_arguments, char *const arguments[])
{
    for (int i = 0; i < n_arguments; i++) {
        pid_t pid;
        int r;

        if (parse_pid(arguments[i], &pid) >= 0)
            r = check_pid(l, pid);
        else if (ptraced_session_id_valid(arguments[i]))
            r = check_session(l, arguments[i]);
        else
            r = report_usage("Neither a session id nor a process id: '%s'", arguments[i]);
        if (r != CTL_OK)
            return r;
    }
    return CTL_OK;
}

bool lookup_means(const struct ptraced_tracee_info *tracee, int n_arguments,
                  char *const arguments[])
{
    for (int i = 0; i < n_arguments; i++) {
        pid_t pid;

        if (strcmp(tracee->session, arguments[i]) == 0)
            return true;
        if (parse_pid(arguments[i], &pid) >= 0 && pid == tracee->pid)
            return true;
    }
    return n_arguments == 0;
}

int lookup_session(struct context *c, const char *id, ptraced_session **ret)
{
    int r;

    if (!ptraced_session_id_valid(id))
        return report_usage("Not a session id: '%s'. They look like 's1'.", id);
    r = ptraced_session_get(c->connection, id, false, ret);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to use session %s", id);
    return CTL_OK;
}

int lookup_session_events(struct context *c, const char *id, ptraced_session **ret)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    int r;

    r = lookup_session(c, id, &session);
    if (r == CTL_OK)
        r = lookup_authorize(c, session, 0);
    if (r != CTL_OK)
        return r;
    r = ptraced_session_get(c->connection, id, true, ret);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to get the events of session %s", id);
    return CTL_OK;
}

bool lookup_is_asked(struct context *c)
{
    switch (ptraced_get_transport(c->connection)) {
    case PTRACED_TRANSPORT_SYSTEM:
        return geteuid() != 0;
    case PTRACED_TRANSPORT_REMOTE:
    case PTRACED_TRANSPORT_MACHINE:
        return true; /* it knows who we are there */
    default:
        return false;
    }
}

static int authorize_one(struct context *c, ptraced_session *session, pid_t pid)
{
    int r;

    agent_open(c, &pid, 1);
    r = ptraced_authorize(session, pid);
    agent_close();
    /* What is gone, the next call says. */
    if (r >= 0 || r == -ESRCH || r == -EUNATCH || r == -ENXIO)
        return CTL_OK;
    return report_failure(c, r, pid, "Failed to use session %s for process %d",
                          ptraced_session_get_id(session), pid);
}

/* Goes through the list; what was done before is in `done`, at its end what is done now. */
static int authorize_new(struct context *c, ptraced_session *session, pid_t **done, int *n_done)
{
    _cleanup_free_ struct ptraced_tracee_info *tracees = NULL;
    const char *id = ptraced_session_get_id(session);
    int r = CTL_OK, n = ptraced_list_tracees(c->connection, &tracees);
    pid_t *all;

    if (n < 0)
        return report_failure(c, n, 0, "Failed to list traced processes");
    all = reallocarray(*done, (size_t)(*n_done + n + 1), sizeof(*all));
    if (!all)
        return report_no_memory();
    *done = all;
    for (int i = 0; i < n && r == CTL_OK; i++) {
        bool is_done = strcmp(tracees[i].session, id) != 0;

        for (int k = 0; k < *n_done; k++)
            is_done |= all[k] == tracees[i].pid;
        if (is_done)
            continue;
        all[(*n_done)++] = tracees[i].pid;
        r = authorize_one(c, session, tracees[i].pid);
    }
    return r;
}

/* Children may have been followed meanwhile, whose parent was not authorised for yet. */
static int authorize_all(struct context *c, ptraced_session *session)
{
    _cleanup_free_ pid_t *done = NULL;
    int n = 0, r = authorize_new(c, session, &done, &n);

    return r == CTL_OK ? authorize_new(c, session, &done, &n) : r;
}

int lookup_authorize(struct context *c, ptraced_session *session, pid_t pid)
{
    if (!lookup_is_asked(c))
        return CTL_OK;
    return pid > 0 ? authorize_one(c, session, pid) : authorize_all(c, session);
}

void lookup_try_authorize(struct context *c, const struct lookup *l, ptraced_session *session)
{
    const char *id = ptraced_session_get_id(session);

    if (!lookup_is_asked(c))
        return;
    for (int i = 0; i < l->n_tracees; i++)
        if (strcmp(l->tracees[i].session, id) == 0)
            (void)ptraced_authorize(session, l->tracees[i].pid);
}

/* Names the sessions that trace a process, in "s1, s4". */
static void name_sessions(const struct lookup *l, pid_t pid, char *buffer, size_t size)
{
    size_t used = 0;

    for (int i = 0; i < l->n_tracees && used < size; i++)
        if (l->tracees[i].pid == pid)
            used += (size_t)snprintf(buffer + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     l->tracees[i].session);
}

int lookup_session_of(struct context *c, const struct lookup *l, pid_t pid, ptraced_session **ret)
{
    const char *id = c->options.session;
    char names[256];
    int n = 0, r;

    if (id)
        return lookup_session(c, id, ret);
    for (int i = 0; i < l->n_tracees; i++)
        if (l->tracees[i].pid == pid) {
            id = l->tracees[i].session;
            n++;
        }
    if (n > 1) {
        name_sessions(l, pid, names, sizeof(names));
        return report_usage("Process %d is traced by several sessions (%s): say which with -s.",
                            pid, names);
    }
    r = check_pid(l, pid);
    return r == CTL_OK ? lookup_session(c, id, ret) : r;
}
