/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-api/paths.h"
#include "client/ctl/agent.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

/* One that is in no list may be another user's. */
static int close_session(struct context *c, const struct lookup *l, const char *id)
{
    bool manages = lookup_is_asked(c) && !lookup_is_own(l, id);
    int r;

    if (!ptraced_session_id_valid(id))
        return report_usage("Not a session id: '%s'. They look like 's1'.", id);
    if (manages)
        agent_open_to_manage(c);
    r = ptraced_close_session(c->connection, id);
    agent_close();
    if (r < 0)
        return report_failure(c, r, 0, "Failed to close session %s", id);
    return CTL_OK;
}

int verb_close(struct context *c, int n_arguments, char **arguments)
{
    _cleanup_(lookup_done) struct lookup l = {0};
    int r, first = CTL_OK;

    r = context_connect(c);
    if (r != CTL_OK)
        return r;
    if (lookup_is_asked(c))
        lookup_try_sessions(c, &l);
    /* One that fails does not keep the others open. */
    for (int i = 0; i < n_arguments; i++) {
        r = close_session(c, &l, arguments[i]);
        if (first == CTL_OK)
            first = r;
    }
    return first;
}
