/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/broker/broker.h"
#include "daemon/broker/flight.h"
#include "daemon/broker/tracer-link.h"

int flight_begin(struct broker *b, struct tracer *t, uid_t uid, size_t n_bytes, struct flight **ret)
{
    struct flight *f = malloc(sizeof(*f));

    if (!f)
        return -ENOMEM;
    *f = (struct flight){.tracer = t, .uid = uid, .n_bytes = n_bytes, .number = t->wire.n_sent};
    list_append(&b->flights, &f->of_broker);
    list_append(&t->flights, &f->of_tracer);
    *ret = f;
    return 0;
}

void flight_end(struct flight *f)
{
    if (!f)
        return;
    list_remove(&f->of_broker);
    list_remove(&f->of_tracer);
    free(f);
}

void flight_linger(struct flight *f)
{
    f->lingers = true;
}

void flights_end(struct tracer *t, uint64_t number)
{
    LIST_FOREACH(struct flight, f, &t->flights, of_tracer)
        if (f->lingers && f->number < number)
            flight_end(f);
}

size_t flight_count_bytes(struct broker *b, uid_t uid)
{
    size_t n = 0;

    LIST_FOREACH(struct flight, f, &b->flights, of_broker) {
        if (f->uid != uid)
            continue;
        if (f->lingers && f->file_mib == 0 && !tracer_has_untaken(f->tracer))
            flight_end(f);
        else
            n += f->n_bytes;
    }
    return n;
}

unsigned flight_count_file_mib(const struct broker *b, uid_t uid)
{
    unsigned n = 0;

    LIST_FOREACH(struct flight, f, &b->flights, of_broker)
        if (f->file_uid == uid)
            n += f->file_mib;
    return n;
}
