/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <time.h>

#include "daemon/trace/event.h"

struct event *event_new(const struct event *from)
{
    struct event *e = malloc(sizeof(*e));

    if (!e)
        return NULL;
    *e = *from;
    e->references = 1;
    return e;
}

struct event *event_ref(struct event *e)
{
    e->references++;
    return e;
}

struct event *event_unref(struct event *e)
{
    if (e && --e->references == 0)
        free(e);
    return NULL;
}

uint64_t event_now_usec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
