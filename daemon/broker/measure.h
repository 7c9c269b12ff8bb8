/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include <systemd/sd-bus.h>

/* How much somebody sends. A bus lets a message be as large as it likes to, and what is kept of
 * each until it is answered has to have its bounds. */

enum measure_limit {
    MEASURE_CALL,     /* any but those of the next kind */
    MEASURE_LARGE,    /* that writes memory or a register set, or names ranges of memory */
    MEASURE_CONTINUE, /* of a session: each of its tracers is sent a copy */
    MEASURE_PERMIT,   /* takes a permission first, and is of a few words */
    _MEASURE_MAX,
};

/* Room for what WriteMemory may write, and for the ranges that ReadMemoryFD may be given. A call of
 * another signature than such methods have may carry no more than options: each element of it takes
 * us longer than the bus, and while they are counted everybody waits. */
#define LARGE_BYTES_MAX ((1024u + 768u) * 1024u)
#define CALL_BYTES_MAX (64u * 1024u)
#define CONTINUE_BYTES_MAX (4u * 1024u)
#define PERMIT_BYTES_MAX (4u * 1024u)

struct measure {
    size_t n_bytes; /* about: of strings and numbers, not of what holds them together */
    unsigned n_fds;
};

/* MEASURE_CALL or MEASURE_LARGE, as its signature tells. */
enum measure_limit measure_limit_of(sd_bus_message *m);

/* Of the whole body. The message is read from its beginning again afterwards. Stops counting, with
 * -E2BIG, above `max` bytes. */
int measure_body(sd_bus_message *m, size_t max, struct measure *ret);

/* The same, and Error.LimitExceeded where it is more. */
int measure_check(sd_bus_message *m, enum measure_limit which, struct measure *ret,
                  sd_bus_error *error);
