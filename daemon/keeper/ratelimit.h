/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* At most `burst` times within `interval_usec`. */
struct ratelimit {
    uint64_t interval_usec;
    unsigned burst;
    uint64_t begin_usec;
    unsigned n;
};

/* Counts one more and says whether it is still allowed. A new interval begins with the first use
 * after the old one's end. */
static inline bool ratelimit_below(struct ratelimit *r, uint64_t now_usec)
{
    if (r->n == 0 || now_usec - r->begin_usec >= r->interval_usec) {
        r->begin_usec = now_usec;
        r->n = 0;
    }
    if (r->n >= r->burst)
        return false;
    r->n++;
    return true;
}
