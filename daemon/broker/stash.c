/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker/stash.h"

struct stashed {
    struct list events;
    struct stash *stash;
    struct ptraced_event_record event;
};

static void stashed_free(struct stashed *d)
{
    list_remove(&d->events);
    d->stash->n--;
    ptraced_event_done(&d->event);
    free(d);
}

void stash_init(struct stash *stash)
{
    list_init(&stash->events);
    stash->n = 0;
}

int stash_add(struct stash *stash, struct ptraced_event_record *e, unsigned max)
{
    struct stashed *d = NULL;

    if (stash->n < max)
        d = calloc(1, sizeof(*d));
    if (!d) {
        ptraced_event_done(e);
        return stash->n < max ? -ENOMEM : -ENOBUFS;
    }
    d->stash = stash;
    d->event = *e;
    e->n_details = 0;
    list_append(&stash->events, &d->events);
    stash->n++;
    return 0;
}

bool stash_take(struct stash *stash, pid_t pid, pid_t tid, struct ptraced_event_record *ret)
{
    LIST_FOREACH(struct stashed, d, &stash->events, events) {
        if ((pid && d->event.pid != pid) || (tid && d->event.tid != tid))
            continue;
        *ret = d->event;
        d->event.n_details = 0;
        stashed_free(d);
        return true;
    }
    return false;
}

void stash_forget(struct stash *stash, pid_t pid)
{
    LIST_FOREACH(struct stashed, d, &stash->events, events)
        if ((!pid || d->event.pid == pid) && strcmp(d->event.kind, "lost") != 0)
            stashed_free(d);
}

void stash_done(struct stash *stash)
{
    struct stashed *d;

    while ((d = LIST_FIRST(&stash->events, struct stashed, events)))
        stashed_free(d);
}
