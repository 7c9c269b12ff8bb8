/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "bus-api/errors.h"
#include "daemon/broker/measure.h"

#define BASIC_BYTES 8u
#define RANGES_BYTES_MAX (BASIC_BYTES + CALL_RANGES_MAX * 3u * BASIC_BYTES) /* a(tt) */

static bool is_number(const char *contents)
{
    return strlen(contents) == 1 && strchr("ynqiuxtd", *contents);
}

static int measure_rest(sd_bus_message *m, size_t max, struct measure *ret);

/* In one piece: element by element a megabyte would take long. */
static int measure_numbers(sd_bus_message *m, char type, struct measure *ret)
{
    const void *numbers;
    size_t size;
    int r = sd_bus_message_read_array(m, type, &numbers, &size);

    if (r >= 0)
        ret->n_bytes += size + BASIC_BYTES;
    return r;
}

static int measure_container(sd_bus_message *m, char type, const char *contents, size_t max,
                             struct measure *ret)
{
    int r = sd_bus_message_enter_container(m, type, contents);

    ret->n_bytes += BASIC_BYTES; /* what is empty takes its room, and its time, too */
    if (r >= 0)
        r = measure_rest(m, max, ret);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int measure_basic(sd_bus_message *m, char type, struct measure *ret)
{
    const char types[] = {type, '\0'}, *string;
    int r;

    ret->n_bytes += BASIC_BYTES;
    if (type == SD_BUS_TYPE_UNIX_FD)
        ret->n_fds++;
    if (type != SD_BUS_TYPE_STRING && type != SD_BUS_TYPE_OBJECT_PATH)
        return sd_bus_message_skip(m, types);
    r = sd_bus_message_read_basic(m, type, &string);
    if (r >= 0)
        ret->n_bytes += strlen(string);
    return r;
}

/* As deep as a message can be, which sd-bus bounds. */
static int measure_rest(sd_bus_message *m, size_t max, struct measure *ret)
{
    const char *contents;
    char type;
    int r;

    while ((r = sd_bus_message_peek_type(m, &type, &contents)) > 0) {
        if (type == SD_BUS_TYPE_ARRAY && is_number(contents))
            r = measure_numbers(m, *contents, ret);
        else if (contents)
            r = measure_container(m, type, contents, max, ret);
        else
            r = measure_basic(m, type, ret);
        if (r < 0)
            return r;
        if (ret->n_bytes > max)
            return -E2BIG;
    }
    return r;
}

enum measure_limit measure_limit_of(sd_bus_message *m, bool unlimited)
{
    if (sd_bus_message_has_signature(m, "a(tt)")) /* ReadMemoryRanges, ReadMemoryFD */
        return unlimited ? MEASURE_LARGE : MEASURE_RANGES;
    return sd_bus_message_has_signature(m, "tay")            /* WriteMemory */
                   || sd_bus_message_has_signature(m, "say") /* SetRegisterSet */
               ? MEASURE_LARGE
               : MEASURE_CALL;
}

int measure_body(sd_bus_message *m, size_t max, struct measure *ret)
{
    int r, rewound;

    *ret = (struct measure){0};
    r = measure_rest(m, max, ret);
    rewound = sd_bus_message_rewind(m, true);
    return r < 0 ? r : rewound < 0 ? rewound : 0;
}

static const struct {
    const char *name;
    size_t max;
    const char *most;
} limits[_MEASURE_MAX] = {
    [MEASURE_CALL] = {"CallKiBMax", CALL_BYTES_MAX, "about 64 KiB"},
    [MEASURE_RANGES] = {"CallRangesMax", RANGES_BYTES_MAX, "4096 ranges"},
    [MEASURE_LARGE] = {"LargeCallKiBMax", LARGE_BYTES_MAX, "about 1792 KiB"},
    [MEASURE_CONTINUE] = {"ContinueKiBMax", CONTINUE_BYTES_MAX, "about 4 KiB"},
    [MEASURE_PERMIT] = {"PermitKiBMax", PERMIT_BYTES_MAX, "about 4 KiB"},
};

int measure_check(sd_bus_message *m, enum measure_limit which, struct measure *ret,
                  sd_bus_error *error)
{
    int r = measure_body(m, limits[which].max, ret);

    if (r != -E2BIG)
        return r;
    return sd_bus_error_setf(
        error, PTRACED_ERROR_LIMIT_EXCEEDED,
        "The limit %s is reached: no more than %s in a call of %s; use several calls",
        limits[which].name, limits[which].most, sd_bus_message_get_member(m));
}
