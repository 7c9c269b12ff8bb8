/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus-api/paths.h"
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

static int check_session(const struct lookup *l, const char *id)
{
    for (int i = 0; i < l->n_sessions; i++)
        if (strcmp(l->sessions[i].id, id) == 0)
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

int lookup_session(struct context *c, const char *id, bool subscribe, ptraced_session **ret)
{
    int r;

    if (!ptraced_session_id_valid(id))
        return report_usage("Not a session id: '%s'. They look like 's1'.", id);
    r = ptraced_session_get(c->connection, id, subscribe, ret);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to use session %s", id);
    return CTL_OK;
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
        return lookup_session(c, id, false, ret);
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
    return r == CTL_OK ? lookup_session(c, id, false, ret) : r;
}
