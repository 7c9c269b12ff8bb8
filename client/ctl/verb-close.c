/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

static int close_session(struct context *c, const char *id)
{
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    int r;

    r = lookup_session(c, id, &session);
    if (r != CTL_OK)
        return r;
    r = ptraced_session_close(session);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to close session %s", id);
    return CTL_OK;
}

int verb_close(struct context *c, int n_arguments, char **arguments)
{
    int r, first = CTL_OK;

    r = context_connect(c);
    if (r != CTL_OK)
        return r;
    /* One that fails does not keep the others open. */
    for (int i = 0; i < n_arguments; i++) {
        r = close_session(c, arguments[i]);
        if (first == CTL_OK)
            first = r;
    }
    return first;
}
