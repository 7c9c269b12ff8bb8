/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "bus-api/errors.h"
#include "daemon/tracer/options-read.h"

int options_bad_value(sd_bus_error *error, const char *key, const char *value, const char *expected)
{
    return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                             "Option '%s' cannot be '%s'; it is %s", key, value, expected);
}

int options_bad_number(sd_bus_error *error, const char *key, long long value, const char *expected)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", value);
    return options_bad_value(error, key, text, expected);
}

int options_read_word(sd_bus_message *m, const char *key, const char *yes, const char *no,
                      bool *ret, sd_bus_error *error)
{
    const char *value;
    int r = sd_bus_message_read(m, "s", &value);

    if (r < 0)
        return r;
    if (strcmp(value, yes) != 0 && strcmp(value, no) != 0)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Option '%s' cannot be '%s'; it is '%s' or '%s'", key, value, yes,
                                 no);
    *ret = strcmp(value, yes) == 0;
    return 0;
}

int options_read_bool(sd_bus_message *m, bool *ret)
{
    int value, r = sd_bus_message_read(m, "b", &value);

    if (r >= 0)
        *ret = value;
    return r;
}

static int read_value(sd_bus_message *m, const struct option *option, void *ret,
                      sd_bus_error *error)
{
    const char *contents;
    char type;
    int r;

    r = sd_bus_message_peek_type(m, &type, &contents);
    if (r < 0)
        return r;
    if (strcmp(contents, option->type) != 0)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Option '%s' has type '%s'; it takes '%s'", option->key, contents,
                                 option->type);
    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, option->type);
    if (r < 0)
        return r;
    r = option->read(m, option->key, ret, error);
    if (r < 0)
        return r;
    return sd_bus_message_exit_container(m);
}

static int read_entry(sd_bus_message *m, const struct option *table, void *ret, sd_bus_error *error)
{
    const char *key;
    int r = sd_bus_message_read(m, "s", &key);

    if (r < 0)
        return r;
    for (const struct option *option = table; option->key; option++)
        if (strcmp(option->key, key) == 0)
            return read_value(m, option, ret, error);
    return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION, "There is no option '%s' here",
                             key);
}

int options_read_table(sd_bus_message *m, const struct option *table, void *ret,
                       sd_bus_error *error)
{
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        r = read_entry(m, table, ret, error);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}
