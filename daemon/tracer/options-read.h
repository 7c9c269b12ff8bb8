/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include <systemd/sd-bus.h>

/* Tables of options: what options.c and its like have in common. */

struct option {
    const char *key;
    const char *type; /* D-Bus signature */
    int (*read)(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error);
};

/* Reads an a{sv}; each value goes to its option's read(), with `ret`. The table ends with a NULL
 * key. What was read before a failure has been written: the caller passes a copy. */
int options_read_table(sd_bus_message *m, const struct option *table, void *ret,
                       sd_bus_error *error);

/* "Option 'key' cannot be 'value'; it is expected". */
int options_bad_value(sd_bus_error *error, const char *key, const char *value,
                      const char *expected);
int options_bad_number(sd_bus_error *error, const char *key, long long value, const char *expected);

/* Reads one of two words. */
int options_read_word(sd_bus_message *m, const char *key, const char *yes, const char *no,
                      bool *ret, sd_bus_error *error);
int options_read_bool(sd_bus_message *m, bool *ret);
