/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client/ctl/kinds.h"
#include "client/lib/ptraced/ptraced.h"

struct options;

/* The library's attach options from those of the command line. The arrays that it points to are
 * its own, so it must stay where it is. */
struct attach {
    struct ptraced_attach_options options;
    const char *kinds[KINDS_MAX + 1];
    const char *stops[KINDS_MAX + 1];
};

/* `kinds`: those to ask for; 0: all. */
void attach_init(struct attach *a, const struct options *o, unsigned kinds);
