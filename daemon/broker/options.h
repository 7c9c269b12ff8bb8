/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include <systemd/sd-bus.h>

/* Options a{sv} of a method: what may be there, of which type, and where it goes. */

struct option_rule {
    const char *key;
    const char *type; /* a D-Bus signature */
    void *ret; /* a variable for s (borrowed from the message), b (int), h (int, borrowed) or u;
                  NULL: checked only */
};

/* Reads options, which the message stands before. A key that is not in the rules, or comes twice,
 * or is of another type, is Error.InvalidOption, which names it. With n 0, rules may be NULL. */
int options_read(sd_bus_message *m, const struct option_rule *rules, size_t n, sd_bus_error *error);
