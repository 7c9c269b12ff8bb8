/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/tracer/options.h"

struct option {
    const char *key;
    const char *type; /* D-Bus signature */
    int (*read)(sd_bus_message *m, const char *key, struct attach_options *o, sd_bus_error *error);
};

static int bad_value(sd_bus_error *error, const char *key, const char *value, const char *expected)
{
    return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                             "Option '%s' cannot be '%s'; it is %s", key, value, expected);
}

static int read_follow(sd_bus_message *m, const char *key, bool *ret, sd_bus_error *error)
{
    const char *value;
    int r = sd_bus_message_read(m, "s", &value);

    if (r < 0)
        return r;
    if (strcmp(value, "follow") == 0)
        *ret = true;
    else if (strcmp(value, "none") == 0)
        *ret = false;
    else
        return bad_value(error, key, value, "'follow' or 'none'");
    return 0;
}

static int read_threads(sd_bus_message *m, const char *key, struct attach_options *o,
                        sd_bus_error *error)
{
    return read_follow(m, key, &o->follow_threads, error);
}

static int read_children(sd_bus_message *m, const char *key, struct attach_options *o,
                         sd_bus_error *error)
{
    return read_follow(m, key, &o->follow_children, error);
}

static int read_stop(sd_bus_message *m, const char *key, struct attach_options *o,
                     sd_bus_error *error)
{
    int stop, r = sd_bus_message_read(m, "b", &stop);

    if (r >= 0)
        o->stop = stop;
    return r;
}

static uint32_t kind_bit(const char *name)
{
#define KIND(id, text)                                                                             \
    if (strcmp(name, text) == 0)                                                                   \
        return EVENT_BIT(EVENT_##id);
    PTRACED_EVENT_KINDS(KIND)
#undef KIND
    return 0;
}

static int read_kinds(sd_bus_message *m, const char *key, uint32_t *ret, sd_bus_error *error)
{
    uint32_t kinds = 0;
    const char *name;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "s");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "s", &name)) > 0) {
        uint32_t bit = kind_bit(name);

        if (!bit)
            return bad_value(error, key, name,
                             "a list of event kinds, such as 'signal', 'clone' or 'exit'");
        kinds |= bit;
    }
    if (r < 0)
        return r;
    *ret = kinds;
    return sd_bus_message_exit_container(m);
}

static int read_events(sd_bus_message *m, const char *key, struct attach_options *o,
                       sd_bus_error *error)
{
    return read_kinds(m, key, &o->report, error);
}

static int read_stops(sd_bus_message *m, const char *key, struct attach_options *o,
                      sd_bus_error *error)
{
    uint32_t stops = 0;
    int r = read_kinds(m, key, &stops, error);

    if (r < 0)
        return r;
    if (stops & EVENT_ENDS)
        return bad_value(error, key, "exited, killed or lost",
                         "a list of event kinds after which there is a thread to be held");
    o->stops = stops;
    return 0;
}

static const struct option attach_options[] = {
    {PTRACED_OPTION_THREADS, "s", read_threads}, {PTRACED_OPTION_CHILDREN, "s", read_children},
    {PTRACED_OPTION_STOP, "b", read_stop},       {PTRACED_OPTION_EVENTS, "as", read_events},
    {PTRACED_OPTION_STOPS, "as", read_stops},    {NULL},
};

static const struct option filter_options[] = {
    {PTRACED_OPTION_EVENTS, "as", read_events},
    {PTRACED_OPTION_STOPS, "as", read_stops},
    {NULL},
};

static const struct option no_options[] = {{NULL}};

static int read_value(sd_bus_message *m, const struct option *option, struct attach_options *o,
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
    r = option->read(m, option->key, o, error);
    if (r < 0)
        return r;
    return sd_bus_message_exit_container(m);
}

static int read_entry(sd_bus_message *m, const struct option *table, struct attach_options *o,
                      sd_bus_error *error)
{
    const char *key;
    int r = sd_bus_message_read(m, "s", &key);

    if (r < 0)
        return r;
    for (const struct option *option = table; option->key; option++)
        if (strcmp(option->key, key) == 0)
            return read_value(m, option, o, error);
    return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION, "There is no option '%s' here",
                             key);
}

static int read_options(sd_bus_message *m, const struct option *table, struct attach_options *ret,
                        sd_bus_error *error)
{
    struct attach_options o = *ret;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        r = read_entry(m, table, &o, error);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    *ret = o;
    return 0;
}

int options_read_attach(sd_bus_message *m, struct attach_options *ret, sd_bus_error *error)
{
    return read_options(m, attach_options, ret, error);
}

int options_read_filter(sd_bus_message *m, struct attach_options *ret, sd_bus_error *error)
{
    return read_options(m, filter_options, ret, error);
}

int options_read_continue(sd_bus_message *m, sd_bus_error *error)
{
    struct attach_options unused = {0};

    return read_options(m, no_options, &unused, error);
}
