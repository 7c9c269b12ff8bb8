/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/tracer/options-read.h"
#include "daemon/tracer/options.h"

/* ---- Of attaching ---- */

/* follow, none, or quiet: follow, and tell nothing of it. */
static int read_threads(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct attach_request *request = ret;
    const char *value;
    int r = sd_bus_message_read(m, "s", &value);

    if (r < 0)
        return r;
    if (strcmp(value, "follow") != 0 && strcmp(value, "quiet") != 0 && strcmp(value, "none") != 0)
        return options_bad_value(error, key, value, "'follow', 'quiet' or 'none'");
    request->follow_threads = strcmp(value, "none") != 0;
    request->filter.quiet_threads = strcmp(value, "quiet") == 0;
    return 0;
}

static int read_children(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct attach_request *request = ret;

    return options_read_word(m, key, "follow", "none", &request->follow_children, error);
}

static int read_stop(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct attach_request *request = ret;

    return options_read_bool(m, &request->stop);
}

static int read_access(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct attach_request *request = ret;

    return options_read_word(m, key, PTRACED_ACCESS_OBSERVE, PTRACED_ACCESS_CONTROL,
                             &request->observe, error);
}

static int read_proof(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct attach_request *request = ret;

    return sd_bus_message_read(m, "h", &request->proof);
}

static int read_all_stop(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct attach_request *request = ret;

    return options_read_bool(m, &request->all_stop);
}

/* ---- Of the filter ---- */

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
            return options_bad_value(error, key, name,
                                     "a list of event kinds, such as 'signal', 'clone' or 'exit'");
        kinds |= bit;
    }
    if (r < 0)
        return r;
    *ret = kinds;
    return sd_bus_message_exit_container(m);
}

static int read_events(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct filter *f = ret;

    return read_kinds(m, key, &f->report, error);
}

static int read_stops(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct filter *f = ret;
    uint32_t stops = 0;
    int r = read_kinds(m, key, &stops, error);

    if (r < 0)
        return r;
    if (stops & EVENT_ENDS)
        return options_bad_value(error, key, "exited, killed or lost",
                                 "a list of event kinds after which there is a thread to be held");
    f->stops = stops;
    return 0;
}

static int read_exit(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct filter *f = ret;

    return options_read_word(m, key, "quiet", "report", &f->quiet_exit, error);
}

static int read_syscalls(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct filter *f = ret;
    const uint64_t *numbers;
    size_t size;
    int r = sd_bus_message_read_array(m, SD_BUS_TYPE_UINT64, (const void **)&numbers, &size);

    if (r < 0)
        return r;
    f->chosen_calls = false;
    memset(f->calls, 0, sizeof(f->calls));
    for (size_t i = 0; i < size / sizeof(*numbers); i++)
        if (filter_add_call(f, numbers[i]) < 0)
            return options_bad_number(error, key, (long long)numbers[i],
                                      "a list of system call numbers, from 0 to 1023");
    return 0;
}

static int read_results(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct filter *f = ret;
    const int32_t *results;
    size_t size;
    int r = sd_bus_message_read_array(m, SD_BUS_TYPE_INT32, (const void **)&results, &size);

    if (r < 0)
        return r;
    f->chosen_results = f->any_error = false;
    memset(f->errnos, 0, sizeof(f->errnos));
    for (size_t i = 0; i < size / sizeof(*results); i++) {
        if (results[i] == -1)
            f->chosen_results = f->any_error = true;
        else if (filter_add_errno(f, results[i]) < 0)
            return options_bad_number(error, key, results[i],
                                      "a list of errno numbers; 0 is success, -1 any error");
    }
    return 0;
}

static int read_pass_signals(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct filter *f = ret;
    const int32_t *signals;
    size_t size;
    int r = sd_bus_message_read_array(m, SD_BUS_TYPE_INT32, (const void **)&signals, &size);

    if (r < 0)
        return r;
    f->pass_signals = 0;
    for (size_t i = 0; i < size / sizeof(*signals); i++) {
        if (signals[i] < 1 || signals[i] > 64)
            return options_bad_number(error, key, signals[i], "a list of signals, from 1 to 64");
        f->pass_signals |= UINT64_C(1) << (signals[i] - 1);
    }
    return 0;
}

static int add_capture(struct filter *f, const char *key, const struct capture *c, const char *when,
                       const char *type, sd_bus_error *error)
{
    struct capture *slot = &f->captures[f->n_captures];

    if (f->n_captures == CAPTURES_MAX)
        return options_bad_value(error, key, "so long", "a list of 64 captures at the most");
    *slot = *c;
    slot->at_exit = strcmp(when, "exit") == 0;
    if (!slot->at_exit && strcmp(when, "enter") != 0)
        return options_bad_value(error, key, when, "'enter' or 'exit' as to when");
    if (strcmp(type, "string") == 0)
        slot->kind = CAPTURE_STRING;
    else if (strcmp(type, "buffer") == 0)
        slot->kind = CAPTURE_BUFFER;
    else if (strcmp(type, "fixed") == 0)
        slot->kind = CAPTURE_FIXED;
    else
        return options_bad_value(error, key, type, "'string', 'buffer' or 'fixed' as to type");
    if (slot->kind == CAPTURE_BUFFER && slot->length_from == CAPTURE_RESULT && !slot->at_exit)
        return options_bad_value(error, key, "by result at enter",
                                 "a result that tells a length, which is known at exit");
    f->n_captures++;
    return 0;
}

/* (number, argument, when, type, length-from, size) */
static int read_captures(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct filter *f = ret;
    uint32_t number, argument, from, size;
    const char *when, *type;
    int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "(uussuu)");

    f->n_captures = 0;
    while (r >= 0 && (r = sd_bus_message_read(m, "(uussuu)", &number, &argument, &when, &type,
                                              &from, &size)) > 0) {
        const struct capture c = {.number = number,
                                  .argument = (uint8_t)argument,
                                  .length_from = (uint8_t)from,
                                  .size = size};

        if (number >= FILTER_CALLS_MAX)
            return options_bad_number(error, key, number, "of system calls from 0 to 1023");
        if (argument > 5)
            return options_bad_number(error, key, argument, "of arguments from 0 to 5");
        if (from > CAPTURE_RESULT)
            return options_bad_number(error, key, from,
                                      "a length from argument 0 to 5, or 6, the result");
        if (size < 1 || size > CAPTURE_SIZE_MAX)
            return options_bad_number(error, key, size, "a size from 1 to 16384 bytes");
        r = add_capture(f, key, &c, when, type, error);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

#define FILTER_OPTIONS(READER)                                                                     \
    {PTRACED_OPTION_EVENTS, "as", READER(read_events)},                                            \
        {PTRACED_OPTION_STOPS, "as", READER(read_stops)},                                          \
        {PTRACED_OPTION_EXIT, "s", READER(read_exit)},                                             \
        {PTRACED_OPTION_SYSCALLS, "at", READER(read_syscalls)},                                    \
        {PTRACED_OPTION_RESULTS, "ai", READER(read_results)},                                      \
        {PTRACED_OPTION_PASS_SIGNALS, "ai", READER(read_pass_signals)},                            \
    {                                                                                              \
        PTRACED_OPTION_CAPTURES, "a(uussuu)", READER(read_captures)                                \
    }

/* The filter's keys where they stand among those of an attach. */
#define IN_ATTACH(read) attach_##read
#define DEFINE_IN_ATTACH(read)                                                                     \
    static int attach_##read(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)   \
    {                                                                                              \
        struct attach_request *request = ret;                                                      \
                                                                                                   \
        request->filter_is_given = true;                                                           \
        return read(m, key, &request->filter, error);                                              \
    }
DEFINE_IN_ATTACH(read_events)
DEFINE_IN_ATTACH(read_stops)
DEFINE_IN_ATTACH(read_exit)
DEFINE_IN_ATTACH(read_syscalls)
DEFINE_IN_ATTACH(read_results)
DEFINE_IN_ATTACH(read_pass_signals)
DEFINE_IN_ATTACH(read_captures)

static const struct option attach_options[] = {
    {PTRACED_OPTION_THREADS, "s", read_threads},
    {PTRACED_OPTION_CHILDREN, "s", read_children},
    {PTRACED_OPTION_STOP, "b", read_stop},
    {PTRACED_OPTION_ALL_STOP, "b", read_all_stop},
    {PTRACED_OPTION_ACCESS, "s", read_access},
    {PTRACED_OPTION_PROOF, "h", read_proof},
    FILTER_OPTIONS(IN_ATTACH),
    {NULL},
};

#define AS_IT_IS(read) read
static const struct option filter_options[] = {FILTER_OPTIONS(AS_IT_IS), {NULL}};

int options_read_attach(sd_bus_message *m, struct attach_request *ret, sd_bus_error *error)
{
    struct attach_request request = *ret;
    int r = options_read_table(m, attach_options, &request, error);

    if (r >= 0)
        *ret = request;
    return r;
}

int options_read_filter(sd_bus_message *m, struct filter *ret, sd_bus_error *error)
{
    struct filter f = *ret;
    int r = options_read_table(m, filter_options, &f, error);

    if (r >= 0)
        *ret = f;
    return r;
}
