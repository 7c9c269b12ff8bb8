/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <time.h>

#include "daemon/trace/event.h"

struct event_data *event_data_new(size_t size)
{
    struct event_data *d = malloc(sizeof(*d) + size);

    if (!d)
        return NULL;
    d->references = 1;
    d->size = size;
    return d;
}

struct event_data *event_data_unref(struct event_data *d)
{
    if (d && --d->references == 0)
        free(d);
    return NULL;
}

struct event *event_new(const struct event *from)
{
    struct event *e = malloc(sizeof(*e));

    if (!e)
        return NULL;
    *e = *from;
    e->references = 1;
    if (e->data)
        e->data->references++;
    return e;
}

struct event *event_ref(struct event *e)
{
    e->references++;
    return e;
}

struct event *event_unref(struct event *e)
{
    if (e && --e->references == 0) {
        event_data_unref(e->data);
        free(e);
    }
    return NULL;
}

uint64_t event_now_usec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
