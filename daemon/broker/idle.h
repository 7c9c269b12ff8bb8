/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

struct broker;

/* The end of a broker that nobody needs: the bus starts one with the next call.
 *
 * systemd is told first (STOPPING=1), so that a start that the bus asks for from then on waits for
 * our end. Then the name is given back; when the bus has confirmed that, all that was sent to us by
 * that name is here, and we go when all of it is answered. What would have made us needed in
 * between, a new session or limit, is refused, with the advice to call again. A limit that was set
 * while it ran (SetLimit) would be forgotten, and is a need too, as are files that are counted
 * (kept.h). */
struct idle {
    uint64_t usec; /* without any need; 0: it stays */
    bool leaving;
    bool released; /* the name */
    sd_event_source *post;
    sd_event_source *timer;
};

int idle_start(struct broker *b);
void idle_done(struct broker *b);
