/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* xorshift32 from a fixed seed: a test that draws numbers draws the same ones everywhere, so that
 * what fails once fails again. */
struct random {
    uint32_t x; /* not 0 */
};

static inline uint32_t random_below(struct random *r, uint32_t n)
{
    r->x ^= r->x << 13;
    r->x ^= r->x >> 17;
    r->x ^= r->x << 5;
    return r->x % n;
}
