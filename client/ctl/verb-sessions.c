/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/report.h"
#include "client/ctl/table.h"
#include "client/ctl/verbs.h"

static unsigned count_tracees(const struct lookup *l, const char *session)
{
    unsigned n = 0;

    for (int i = 0; i < l->n_tracees; i++)
        n += strcmp(l->tracees[i].session, session) == 0;
    return n;
}

int verb_sessions(struct context *c, int n_arguments, char **arguments)
{
    static const struct column columns[] = {
        {"ID", "id"}, {"UID", "uid"}, {"TRACEES", "tracees"}, {"NAME", "name"}};
    _cleanup_(table_done) struct table table = TABLE(columns);
    _cleanup_(lookup_done) struct lookup l = {0};
    int r;

    r = context_connect(c);
    if (r != CTL_OK)
        return r;
    r = lookup_read(c, &l);
    if (r != CTL_OK)
        return r;
    for (int i = 0; i < l.n_sessions; i++) {
        const struct ptraced_session_info *s = &l.sessions[i];

        if (table_add_text(&table, s->id) < 0 || table_add_number(&table, s->uid) < 0 ||
            table_add_number(&table, count_tracees(&l, s->id)) < 0 ||
            table_add_text(&table, s->name) < 0)
            return report_no_memory();
    }
    table_print(&table, &c->options, "session", "sessions");
    return CTL_OK;
}
