/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "daemon/trace/repair-signals.h"
#include "daemon/trace/repair-text.h"
#include "daemon/trace/repair.h"

struct repair {
    struct repair_signals *signals; /* NULL: none */
    struct repair_text *text;       /* NULL: none */
};

int repair_plan(struct ledger *l, struct repair **ret)
{
    struct repair *r = calloc(1, sizeof(*r));
    int k;

    if (!r)
        return -ENOMEM;
    k = repair_signals_plan(l, &r->signals);
    if (k >= 0)
        k = repair_text_plan(l, &r->text);
    if (k < 0 || (!r->signals && !r->text))
        r = repair_free(r);
    if (k >= 0)
        *ret = r;
    return k;
}

bool repair_needs_hold(const struct repair *r)
{
    return r->text;
}

void repair_hold(struct repair *r)
{
    if (r->text)
        repair_text_hold(r->text);
}

void repair_run(struct repair *r)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    if (r->text)
        repair_text_run(r->text);
    if (r->signals)
        repair_signals_run(r->signals);
}

void repair_give_up(const struct repair *r)
{
    if (r && r->text)
        repair_text_give_up(r->text);
}

struct repair *repair_free(struct repair *r)
{
    if (r) {
        repair_signals_free(r->signals);
        repair_text_free(r->text);
    }
    free(r);
    return NULL;
}
