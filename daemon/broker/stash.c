/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker/stash.h"

struct stashed {
    struct list stash;
    struct ptraced_event_record event;
};

static void stashed_free(struct stashed *d)
{
    list_remove(&d->stash);
    ptraced_event_done(&d->event);
    free(d);
}

int stash_add(struct list *stash, struct ptraced_event_record *e)
{
    struct stashed *d;

    d = calloc(1, sizeof(*d));
    if (!d) {
        ptraced_event_done(e);
        return -ENOMEM;
    }
    d->event = *e;
    e->n_details = 0;
    list_append(stash, &d->stash);
    return 0;
}

bool stash_take(struct list *stash, pid_t pid, pid_t tid, struct ptraced_event_record *ret)
{
    LIST_FOREACH(struct stashed, d, stash, stash) {
        if ((pid && d->event.pid != pid) || (tid && d->event.tid != tid))
            continue;
        *ret = d->event;
        d->event.n_details = 0;
        stashed_free(d);
        return true;
    }
    return false;
}

void stash_forget(struct list *stash, pid_t pid)
{
    LIST_FOREACH(struct stashed, d, stash, stash)
        if ((!pid || d->event.pid == pid) && strcmp(d->event.kind, "lost") != 0)
            stashed_free(d);
}

void stash_done(struct list *stash)
{
    struct stashed *d;

    while ((d = LIST_FIRST(stash, struct stashed, stash)))
        stashed_free(d);
}
