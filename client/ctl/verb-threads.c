/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/proc.h"
#include "client/ctl/report.h"
#include "client/ctl/table.h"
#include "client/ctl/verbs.h"

/* Names are in this machine's /proc, and nowhere in a list of the service's. */
static char *thread_name(struct context *c, pid_t pid, pid_t tid)
{
    switch (ptraced_get_transport(c->connection)) {
    case PTRACED_TRANSPORT_REMOTE:
    case PTRACED_TRANSPORT_MACHINE:
        return NULL;
    default:
        return proc_comm(pid, tid);
    }
}

static int add_thread(struct context *c, struct table *table,
                      const struct ptraced_tracee_info *tracee,
                      const struct ptraced_thread_info *thread)
{
    _cleanup_free_ char *name = thread_name(c, tracee->pid, thread->tid);

    if (table_add_text(table, tracee->session) < 0 ||
        table_add_number(table, (uint64_t)tracee->pid) < 0 ||
        table_add_number(table, (uint64_t)thread->tid) < 0 ||
        table_add_text(table, thread->state) < 0 || table_add_text(table, name) < 0)
        return report_no_memory();
    return CTL_OK;
}

/* Where all are meant, those of other connections are left out. */
static bool is_left_out(struct context *c, ptraced_session *session,
                        const struct ptraced_tracee_info *tracee)
{
    int r = lookup_is_asked(c) ? ptraced_authorize(session, tracee->pid) : 0;

    if (r >= 0 || r == -ESRCH || r == -EUNATCH || r == -ENXIO)
        return false;
    report_notice(&c->options,
                  "The threads of process %d are for those who trace it in session %s.",
                  tracee->pid, tracee->session);
    return true;
}

static int add_process(struct context *c, struct table *table,
                       const struct ptraced_tracee_info *tracee, bool named)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    _cleanup_free_ struct ptraced_thread_info *threads = NULL;
    int r, n;

    r = ptraced_session_get(c->connection, tracee->session, false, &session);
    if (r >= 0 && !named && is_left_out(c, session, tracee))
        return CTL_OK;
    if (r >= 0 && named) {
        r = lookup_authorize(c, session, tracee->pid);
        if (r != CTL_OK)
            return r;
    }
    n = r < 0 ? r : ptraced_list_threads(session, tracee->pid, &threads);
    /* It has ended, or was let go, since the list was made. */
    if (n == -ESRCH || n == -EUNATCH || n == -ENXIO)
        return CTL_OK;
    if (n < 0)
        return report_failure(c, n, tracee->pid, "Failed to list the threads of process %d",
                              tracee->pid);
    for (int i = 0; i < n; i++) {
        r = add_thread(c, table, tracee, &threads[i]);
        if (r != CTL_OK)
            return r;
    }
    return CTL_OK;
}

int verb_threads(struct context *c, int n_arguments, char **arguments)
{
    static const struct column columns[] = {{"SESSION", "session"},
                                            {"PID", "pid"},
                                            {"TID", "tid"},
                                            {"STATE", "state"},
                                            {"NAME", "name"}};
    _cleanup_(table_done) struct table table = TABLE(columns);
    _cleanup_(lookup_done) struct lookup l = {0};
    const char *session = c->options.session;
    int r;

    r = context_connect(c);
    if (r == CTL_OK)
        r = lookup_read(c, &l);
    if (r == CTL_OK)
        r = lookup_check(&l, n_arguments, arguments);
    if (r == CTL_OK && session)
        r = lookup_check(&l, 1, (char *const *)&session);
    for (int i = 0; r == CTL_OK && i < l.n_tracees; i++) {
        const struct ptraced_tracee_info *tracee = &l.tracees[i];

        if (session && strcmp(session, tracee->session) != 0)
            continue;
        if (lookup_means(tracee, n_arguments, arguments))
            r = add_process(c, &table, tracee, n_arguments > 0 || session);
    }
    if (r == CTL_OK)
        table_print(&table, &c->options, "thread", "threads");
    return r;
}
