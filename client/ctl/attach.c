/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/ctl/attach.h"
#include "client/ctl/options.h"

void attach_init(struct attach *a, const struct options *o, unsigned kinds)
{
    a->options = (struct ptraced_attach_options){
        .size = sizeof(a->options),
        .threads = o->threads,
        .children = o->follow ? PTRACED_FOLLOW_EVENTS : PTRACED_FOLLOW_DEFAULT,
        .stop = o->stop,
        .kinds = kinds_names(kinds, a->kinds),
        .stops = kinds_names(o->stops, a->stops),
    };
}
