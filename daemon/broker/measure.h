/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <systemd/sd-bus.h>

/* How much somebody sends. A bus lets a message be as large as it likes to, and what is kept of
 * each until it is answered has to have its bounds. */

enum measure_limit {
    MEASURE_CALL,     /* any but those of the next kind */
    MEASURE_RANGES,   /* of memory, that who has limits names */
    MEASURE_LARGE,    /* that writes memory or a register set, or names ranges without a limit */
    MEASURE_CONTINUE, /* of a session: each of its tracers is sent a copy */
    MEASURE_PERMIT,   /* takes a permission first, and is of a few words */
    _MEASURE_MAX,
};

/* Room for what WriteMemory may write, and for the ranges that ReadMemoryFD may be given. Each
 * element of a call that is not in one piece takes us longer than the bus, and while they are
 * counted and copied everybody waits: so there may be no more ranges than ReadMemoryRanges takes,
 * and a call of another signature than such methods have may carry no more than options. */
#define LARGE_BYTES_MAX ((1024u + 768u) * 1024u)
#define CALL_BYTES_MAX (64u * 1024u)
#define CALL_RANGES_MAX 4096u
#define CONTINUE_BYTES_MAX (4u * 1024u)
#define PERMIT_BYTES_MAX (4u * 1024u)

struct measure {
    size_t n_bytes; /* about: of strings and numbers, not of what holds them together */
    unsigned n_fds;
};

/* MEASURE_CALL, MEASURE_RANGES or MEASURE_LARGE, as its signature tells, and whether its caller has
 * limits. */
enum measure_limit measure_limit_of(sd_bus_message *m, bool unlimited);

/* Of the whole body. The message is read from its beginning again afterwards. Stops counting, with
 * -E2BIG, above `max` bytes. */
int measure_body(sd_bus_message *m, size_t max, struct measure *ret);

/* The same, and Error.LimitExceeded where it is more. */
int measure_check(sd_bus_message *m, enum measure_limit which, struct measure *ret,
                  sd_bus_error *error);
