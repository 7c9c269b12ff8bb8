/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client/ctl/options.h"
#include "client/lib/ptraced/ptraced.h"

struct verb;

/* One run of ptracectl. */
struct context {
    struct options options;
    const struct verb *verb;
    ptraced *connection; /* NULL until context_connect() */
};

/* Opens the connection that the options ask for. Without a transport option: the system service
 * where it answers, else, for a verb that makes sense there, embedded mode, saying so once. Returns
 * an exit code. */
int context_connect(struct context *c);

void context_done(struct context *c);
