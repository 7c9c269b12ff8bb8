/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/tracer/options-read.h"
#include "daemon/tracer/options.h"

/* The options of Continue and Step. */

static int read_mode(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    static const char *const modes[RESUME_MODE_MAX] = {
        [RESUME_STEP] = PTRACED_MODE_STEP,
        [RESUME_BLOCK_STEP] = PTRACED_MODE_BLOCK_STEP,
        [RESUME_SYSCALL] = PTRACED_MODE_SYSCALL,
        [RESUME_RUN] = PTRACED_MODE_RUN,
    };
    struct continue_options *o = ret;
    const char *value;
    int r = sd_bus_message_read(m, "s", &value);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < RESUME_MODE_MAX; i++)
        if (strcmp(value, modes[i]) == 0) {
            o->mode = (enum resume_mode)i;
            return 0;
        }
    return options_bad_value(error, key, value, "'run', 'step', 'block-step' or 'syscall'");
}

static int read_range(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct continue_options *o = ret;
    uint64_t start, end;
    int r = sd_bus_message_read(m, "(tt)", &start, &end);

    if (r < 0)
        return r;
    if (start >= end)
        return options_bad_value(error, key, "empty",
                                 "(start, end): the first address inside, and the first behind");
    o->range_start = start;
    o->range_end = end;
    return 0;
}

static int read_signal(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct continue_options *o = ret;
    int32_t signo;
    int r = sd_bus_message_read(m, "i", &signo);

    if (r < 0)
        return r;
    if (signo < 1 || signo > SIGRTMAX)
        return options_bad_number(error, key, signo,
                                  "a signal, from 1 to 64; 'suppress' drops the one that is there");
    o->signo = signo;
    return 0;
}

static int read_suppress(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct continue_options *o = ret;

    return options_read_bool(m, &o->suppress);
}

#define MODE                                                                                       \
    {                                                                                              \
        PTRACED_OPTION_MODE, "s", read_mode                                                        \
    }
#define SUPPRESS                                                                                   \
    {                                                                                              \
        PTRACED_OPTION_SUPPRESS, "b", read_suppress                                                \
    }
#define FOR_ONE_THREAD                                                                             \
    {PTRACED_OPTION_RANGE, "(tt)", read_range},                                                    \
    {                                                                                              \
        PTRACED_OPTION_SIGNAL, "i", read_signal                                                    \
    }

static const struct option continue_options[] = {MODE, SUPPRESS, {NULL}};
static const struct option continue_one_options[] = {MODE, SUPPRESS, FOR_ONE_THREAD, {NULL}};
static const struct option step_options[] = {SUPPRESS, FOR_ONE_THREAD, {NULL}};

static int check(const struct continue_options *o, sd_bus_error *error)
{
    if (o->suppress && o->signo != 0)
        return sd_bus_error_set(error, PTRACED_ERROR_INVALID_OPTION,
                                "Option 'signal' names what to deliver and 'suppress' asks for "
                                "nothing to be; give one of them");
    if (o->range_start != o->range_end && o->mode != RESUME_STEP)
        return sd_bus_error_set(error, PTRACED_ERROR_INVALID_OPTION,
                                "Option 'range' goes with the mode 'step'");
    return 0;
}

static int read_options(sd_bus_message *m, const struct option *table, struct continue_options *ret,
                        sd_bus_error *error)
{
    struct continue_options o = *ret;
    int r = options_read_table(m, table, &o, error);

    if (r >= 0)
        r = check(&o, error);
    if (r >= 0)
        *ret = o;
    return r;
}

int options_read_continue(sd_bus_message *m, bool one_thread, struct continue_options *ret,
                          sd_bus_error *error)
{
    return read_options(m, one_thread ? continue_one_options : continue_options, ret, error);
}

int options_read_step(sd_bus_message *m, struct continue_options *ret, sd_bus_error *error)
{
    ret->mode = RESUME_STEP;
    return read_options(m, step_options, ret, error);
}
