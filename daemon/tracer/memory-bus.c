/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/process.h"
#include "daemon/trace/space.h"
#include "daemon/tracer/breakpoint-bus.h"
#include "daemon/tracer/memory-bus.h"

#define USE_FD "use ReadMemoryFD, or several calls"

static int explain_at(sd_bus_error *error, int failure, const struct process *p, const char *verb,
                      uint64_t address)
{
    char what[64];

    snprintf(what, sizeof(what), "%s memory at 0x%" PRIx64, verb, address);
    return memory_explain(error, failure, p->pidref.pid, what);
}

int memory_method_read(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_free_string_ char *buffer = NULL;
    uint64_t address, size;
    struct process *p;
    ssize_t n;
    int r = memory_find(m, userdata, &p, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "tt", &address, &size);
    if (r >= 0)
        r = memory_check_range(address, size, error);
    if (r < 0)
        return r;
    if (size > PTRACED_MEMORY_MESSAGE_MAX)
        return memory_explain_limit(error, "ReadMemory", "MemoryMessageMax",
                                    PTRACED_MEMORY_MESSAGE_MAX, "bytes", USE_FD);
    buffer = malloc(size);
    if (!buffer)
        return -ENOMEM;
    n = memory_read(p, address, buffer, size);
    if (n < 0)
        return explain_at(error, (int)n, p, "read", address);
    return memory_reply_bytes(m, buffer, (size_t)n);
}

/* ---- Many ranges --------------------------------------------------------------------------- */

struct range_limits {
    const char *method;
    size_t n;
    const char *n_name;
    uint64_t bytes;
    const char *bytes_name;
    const char *remedy;
};

static int add_range(struct memory_range **ranges, size_t *n, size_t *n_allocated,
                     const struct memory_range *range)
{
    if (*n == *n_allocated) {
        size_t larger = *n_allocated == 0 ? 16 : 2 * *n_allocated;
        struct memory_range *grown = reallocarray(*ranges, larger, sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        *ranges = grown;
        *n_allocated = larger;
    }
    (*ranges)[(*n)++] = *range;
    return 0;
}

static int check_ranges(const struct range_limits *limits, const struct memory_range *range,
                        size_t n, uint64_t *total, sd_bus_error *error)
{
    int r = memory_check_range(range->address, range->size, error);

    if (r < 0)
        return r;
    if (n >= limits->n)
        return memory_explain_limit(error, limits->method, limits->n_name, limits->n, "ranges",
                                    "use several calls");
    if (range->size > limits->bytes - *total)
        return memory_explain_limit(error, limits->method, limits->bytes_name, limits->bytes,
                                    "bytes, all ranges together", limits->remedy);
    *total += range->size;
    return 0;
}

/* *ret is for the caller to free, *ret_total the sum of the sizes. */
static int read_ranges(sd_bus_message *m, const struct range_limits *limits,
                       struct memory_range **ret, size_t *ret_n, uint64_t *ret_total,
                       sd_bus_error *error)
{
    _cleanup_free_string_ struct memory_range *ranges = NULL;
    size_t n = 0, n_allocated = 0;
    struct memory_range range;
    uint64_t total = 0;
    int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "(tt)");

    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "(tt)", &range.address, &range.size)) > 0) {
        r = check_ranges(limits, &range, n, &total, error);
        if (r >= 0)
            r = add_range(&ranges, &n, &n_allocated, &range);
        if (r < 0)
            return r;
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    if (n == 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s of no range at all",
                                 limits->method);
    *ret = TAKE_PTR(ranges);
    *ret_n = n;
    *ret_total = total;
    return 0;
}

/* A range that cannot be read at all is an empty array among the others, so that one does not spoil
 * the rest. */
static int append_range(sd_bus_message *reply, struct process *p, const struct memory_range *range,
                        char *buffer, sd_bus_error *error)
{
    ssize_t n = memory_read(p, range->address, buffer, range->size);

    if (n == -EFAULT)
        n = 0;
    if (n < 0)
        return explain_at(error, (int)n, p, "read", range->address);
    return sd_bus_message_append_array(reply, 'y', buffer, (size_t)n);
}

int memory_method_read_ranges(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    static const struct range_limits limits = {
        .method = "ReadMemoryRanges",
        .n = PTRACED_MEMORY_MESSAGE_RANGES_MAX,
        .n_name = "MemoryMessageRangesMax",
        .bytes = PTRACED_MEMORY_MESSAGE_MAX,
        .bytes_name = "MemoryMessageMax",
        .remedy = USE_FD,
    };
    _cleanup_free_string_ struct memory_range *ranges = NULL;
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    _cleanup_free_string_ char *buffer = NULL;
    struct process *p;
    uint64_t total;
    size_t n;
    int r = memory_find(m, userdata, &p, error);

    if (r >= 0)
        r = read_ranges(m, &limits, &ranges, &n, &total, error);
    if (r < 0)
        return r;
    buffer = malloc(total);
    if (!buffer)
        return -ENOMEM;
    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "ay");
    for (size_t i = 0; i < n && r >= 0; i++)
        r = append_range(reply, p, &ranges[i], buffer, error);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_message_send(reply);
}

int memory_method_read_fd(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    static const struct range_limits limits = {
        .method = "ReadMemoryFD",
        .n = PTRACED_MEMORY_FD_RANGES_MAX,
        .n_name = "MemoryFDRangesMax",
        .bytes = PTRACED_MEMORY_FD_MAX,
        .bytes_name = "MemoryFDMax",
        .remedy = "use several calls, or OpenMemory",
    };
    _cleanup_free_string_ struct memory_range *ranges = NULL;
    _cleanup_close_fd_ int fd = -1;
    uint64_t total, done;
    struct process *p;
    size_t n;
    int r = memory_find(m, userdata, &p, error);

    if (r >= 0)
        r = read_ranges(m, &limits, &ranges, &n, &total, error);
    if (r < 0)
        return r;
    r = memory_to_memfd(p, ranges, n, &fd, &done);
    if (r >= 0 && done == 0)
        r = -EFAULT;
    if (r < 0)
        return explain_at(error, r, p, "read", ranges[0].address);
    return memory_reply_fd(m, TAKE_FD(fd));
}

/* ---- Writing ------------------------------------------------------------------------------- */

/* What was written stays written, so the error says how much that is, in words that a program can
 * find too: "N of M bytes written". */
static int explain_write(sd_bus_error *error, int failure, const struct process *p,
                         uint64_t address, size_t done, size_t size)
{
    char what[128];

    snprintf(what, sizeof(what), "write memory at 0x%" PRIx64 " (%zu of %zu bytes written)",
             address + done, done, size);
    return memory_explain(error, failure, p->pidref.pid, what);
}

int memory_method_write(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint64_t address;
    struct process *p;
    const void *bytes;
    size_t size, done;
    ssize_t n;
    int r = memory_find(m, userdata, &p, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "t", &address);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &bytes, &size);
    if (r >= 0)
        r = memory_check_range(address, size, error);
    if (r < 0)
        return r;
    if (size > PTRACED_MEMORY_MESSAGE_MAX)
        return memory_explain_limit(error, "WriteMemory", "MemoryMessageMax",
                                    PTRACED_MEMORY_MESSAGE_MAX, "bytes", "use several calls");
    n = memory_write(p, address, bytes, size);
    done = n < 0 ? 0 : (size_t)n;
    if (done < size)
        return explain_write(error, n < 0 ? (int)n : -EFAULT, p, address, done, size);
    return sd_bus_reply_method_return(m, NULL);
}

int memory_method_open(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *mode;
    struct process *p;
    int fd, r = memory_find(m, userdata, &p, error);
    bool writable;

    if (r >= 0)
        r = sd_bus_message_read(m, "s", &mode);
    if (r < 0)
        return r;
    writable = strcmp(mode, PTRACED_MEMORY_READ_WRITE) == 0;
    if (!writable && strcmp(mode, PTRACED_MEMORY_READ) != 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "There is no mode \"%s\" to open memory in; there are "
                                 "\"" PTRACED_MEMORY_READ "\" and \"" PTRACED_MEMORY_READ_WRITE
                                 "\"",
                                 mode);
    if (writable && space_has_locations(p->space))
        return explain_writer(error, p->pidref.pid);
    r = memory_open(p, writable, &fd);
    if (r < 0)
        return memory_explain(error, r, p->pidref.pid, "open the memory");
    return memory_reply_opened(m, userdata, fd);
}
