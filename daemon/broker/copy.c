/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>
#include <string.h>

#include "daemon/broker/copy.h"

static bool is_number(const char *contents)
{
    return strlen(contents) == 1 && strchr("ynqiuxtd", *contents);
}

static int copy_numbers(sd_bus_message *to, sd_bus_message *from, char type, size_t *n_bytes)
{
    const void *numbers;
    size_t size;
    int r = sd_bus_message_read_array(from, type, &numbers, &size);

    if (r < 0)
        return r;
    *n_bytes += size;
    return sd_bus_message_append_array(to, type, numbers, size);
}

static int copy_string(sd_bus_message *to, sd_bus_message *from, char type, size_t *n_bytes)
{
    const char *string;
    int r = sd_bus_message_read_basic(from, type, &string);

    if (r < 0)
        return r;
    *n_bytes += strlen(string);
    return sd_bus_message_append_basic(to, type, string);
}

/* As deep as a message can be, which sd-bus bounds. */
static int copy_container(sd_bus_message *to, sd_bus_message *from, char type, const char *contents,
                          size_t *n_bytes)
{
    int r = sd_bus_message_enter_container(from, type, contents);

    if (r >= 0)
        r = sd_bus_message_open_container(to, type, contents);
    if (r >= 0)
        r = copy_body_counted(to, from, n_bytes);
    if (r >= 0)
        r = sd_bus_message_close_container(to);
    return r < 0 ? r : sd_bus_message_exit_container(from);
}

int copy_body_counted(sd_bus_message *to, sd_bus_message *from, size_t *n_bytes)
{
    const char *contents;
    char type;
    int r;

    while ((r = sd_bus_message_peek_type(from, &type, &contents)) > 0) {
        if (type == SD_BUS_TYPE_ARRAY && is_number(contents))
            r = copy_numbers(to, from, *contents, n_bytes);
        else if (contents)
            r = copy_container(to, from, type, contents, n_bytes);
        else if (type == SD_BUS_TYPE_STRING)
            r = copy_string(to, from, type, n_bytes);
        else
            r = sd_bus_message_copy(to, from, false);
        if (r < 0)
            return r;
    }
    return r;
}

int copy_body(sd_bus_message *to, sd_bus_message *from)
{
    size_t n_bytes = 0;

    return copy_body_counted(to, from, &n_bytes);
}
