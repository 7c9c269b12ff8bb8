/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/tracer/options.h"
#include "tests/unit/bus-fixture.h"

typedef int reader(sd_bus_message *m, struct attach_request *ret, sd_bus_error *error);

/* Sends the options that the arguments describe, as of sd_bus_message_append(), and reads them. */
static int read_options(struct bus_fixture *f, reader *read, struct attach_request *o,
                        sd_bus_error *error, const char *types, ...)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    va_list ap;
    int r;

    va_start(ap, types);
    r = sd_bus_message_appendv(m, types, ap);
    va_end(ap);
    assert_return_code(r, -r);
    return read(bus_fixture_pass(f, m), o, error);
}

static void assert_same(const struct attach_request *got, const struct attach_request *expected)
{
    const struct filter *a = &got->filter, *b = &expected->filter;

    assert_int_equal(a->report, b->report);
    assert_int_equal(a->stops, b->stops);
    assert_true(a->pass_signals == b->pass_signals);
    assert_int_equal(a->quiet_threads, b->quiet_threads);
    assert_int_equal(a->quiet_exit, b->quiet_exit);
    assert_int_equal(a->chosen_calls, b->chosen_calls);
    assert_int_equal(a->chosen_results, b->chosen_results);
    assert_int_equal(a->any_error, b->any_error);
    assert_memory_equal(a->calls, b->calls, sizeof(a->calls));
    assert_memory_equal(a->errnos, b->errnos, sizeof(a->errnos));
    assert_int_equal(a->n_captures, b->n_captures);
    assert_int_equal(got->all_stop, expected->all_stop);
    assert_int_equal(got->follow_threads, expected->follow_threads);
    assert_int_equal(got->follow_children, expected->follow_children);
    assert_int_equal(got->stop, expected->stop);
}

#define ASSERT_READ(read, expected, ...)                                                           \
    do {                                                                                           \
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;                                \
        struct attach_request got = ATTACH_REQUEST_DEFAULT;                                        \
        assert_return_code(read_options(*state, read, &got, &error, __VA_ARGS__), 0);              \
        assert_same(&got, &(expected));                                                            \
        assert_null(error.name);                                                                   \
    } while (0)

/* Refused with InvalidOption, nothing changed, and both words in the message. */
#define ASSERT_REFUSED(read, word, other, ...)                                                     \
    do {                                                                                           \
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;                                \
        struct attach_request got = ATTACH_REQUEST_DEFAULT;                                        \
        assert_int_equal(read_options(*state, read, &got, &error, __VA_ARGS__), -EINVAL);          \
        assert_same(&got, &ATTACH_REQUEST_DEFAULT);                                                \
        assert_refusal(&error, word, other);                                                       \
    } while (0)

static void assert_refusal(const sd_bus_error *error, const char *word, const char *other)
{
    assert_true(sd_bus_error_has_name(error, PTRACED_ERROR_INVALID_OPTION));
    if (!strstr(error->message, word) || !strstr(error->message, other))
        fail_msg("\"%s\" names not both %s and %s", error->message, word, other);
}

static int read_filter(sd_bus_message *m, struct attach_request *ret, sd_bus_error *error)
{
    return options_read_filter(m, &ret->filter, error);
}

static int read_continue(sd_bus_message *m, struct attach_request *ret, sd_bus_error *error)
{
    struct continue_options o = CONTINUE_OPTIONS_DEFAULT;

    return options_read_continue(m, true, &o, error);
}

static void no_option_changes_nothing(void **state)
{
    ASSERT_READ(options_read_attach, ATTACH_REQUEST_DEFAULT, "a{sv}", 0);
    ASSERT_READ(read_filter, ATTACH_REQUEST_DEFAULT, "a{sv}", 0);
    ASSERT_READ(read_continue, ATTACH_REQUEST_DEFAULT, "a{sv}", 0);
}

static void threads_are_followed_or_not(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "threads", "s", "follow");
    o.follow_threads = false;
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "threads", "s", "none");
    ASSERT_REFUSED(options_read_attach, "'threads'", "'all'", "a{sv}", 1, "threads", "s", "all");
}

static void children_are_followed_or_not(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "children", "s", "none");
    o.follow_children = true;
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "children", "s", "follow");
    ASSERT_REFUSED(options_read_attach, "'children'", "''", "a{sv}", 1, "children", "s", "");
}

static void process_is_stopped_at_once_or_not(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "stop", "b", 0);
    o.stop = true;
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "stop", "b", 1);
}

static void each_kind_of_event_can_be_chosen(void **state)
{
#define KIND(id, text) {text, EVENT_BIT(EVENT_##id)},
    static const struct {
        const char *name;
        uint32_t bit;
    } kinds[] = {PTRACED_EVENT_KINDS(KIND)};
#undef KIND
    uint32_t all = 0;

    for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
        struct attach_request o = ATTACH_REQUEST_DEFAULT;

        o.filter.report = kinds[i].bit;
        ASSERT_READ(options_read_attach, o, "a{sv}", 1, "events", "as", 1, kinds[i].name);
        ASSERT_READ(read_filter, o, "a{sv}", 1, "events", "as", 1, kinds[i].name);
        all |= kinds[i].bit;
    }
    assert_int_equal(all, EVENT_ALL); /* the bus has a name for every kind of the core's */
}

static void several_kinds_add_up_and_none_is_none(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    o.filter.report = EVENT_BIT(EVENT_EXEC) | EVENT_BIT(EVENT_LOST);
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "events", "as", 3, "exec", "lost", "exec");
    o.filter.report = 0;
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "events", "as", 0);
}

static void kinds_that_stop_are_chosen_apart(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    o.filter.stops = EVENT_BIT(EVENT_SIGNAL) | EVENT_BIT(EVENT_EXIT);
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "stops", "as", 2, "signal", "exit");
    ASSERT_READ(read_filter, o, "a{sv}", 1, "stops", "as", 2, "signal", "exit");
}

static void all_options_together(void **state)
{
    const struct attach_request o = {
        .filter = {.report = EVENT_BIT(EVENT_CLONE), .stops = EVENT_BIT(EVENT_EXEC)},
        .follow_threads = false,
        .follow_children = true,
        .stop = true,
    };

    ASSERT_READ(options_read_attach, o, "a{sv}", 5, "stops", "as", 1, "exec", "threads", "s",
                "none", "stop", "b", 1, "children", "s", "follow", "events", "as", 1, "clone");
}

static void unknown_key_is_named(void **state)
{
    ASSERT_REFUSED(options_read_attach, "'sotp'", "option", "a{sv}", 1, "sotp", "b", 1);
    ASSERT_REFUSED(options_read_attach, "'Stop'", "option", "a{sv}", 1, "Stop", "b", 1);
    ASSERT_REFUSED(options_read_attach, "''", "option", "a{sv}", 1, "", "b", 1);
    ASSERT_REFUSED(options_read_attach, "'later'", "option", "a{sv}", 2, "stop", "b", 1, "later",
                   "a{sv}", 0);
}

static void key_of_another_method_is_unknown(void **state)
{
    ASSERT_REFUSED(read_filter, "'threads'", "option", "a{sv}", 1, "threads", "s", "none");
    ASSERT_REFUSED(read_filter, "'stop'", "option", "a{sv}", 1, "stop", "b", 1);
    ASSERT_REFUSED(read_continue, "'events'", "option", "a{sv}", 1, "events", "as", 0);
}

static void wrong_type_is_named_with_its_key(void **state)
{
    ASSERT_REFUSED(options_read_attach, "'threads'", "'b'", "a{sv}", 1, "threads", "b", 1);
    ASSERT_REFUSED(options_read_attach, "'children'", "'u'", "a{sv}", 1, "children", "u", 1u);
    ASSERT_REFUSED(options_read_attach, "'stop'", "'s'", "a{sv}", 1, "stop", "s", "true");
    ASSERT_REFUSED(options_read_attach, "'events'", "'s'", "a{sv}", 1, "events", "s", "exec");
    ASSERT_REFUSED(options_read_attach, "'stops'", "'au'", "a{sv}", 1, "stops", "au", 0);
    ASSERT_REFUSED(options_read_attach, "'stops'", "'as'", "a{sv}", 1, "stops", "au", 0);
    ASSERT_REFUSED(read_filter, "'events'", "'(s)'", "a{sv}", 1, "events", "(s)", "exec");
    ASSERT_REFUSED(options_read_attach, "'stop'", "'v'", "a{sv}", 1, "stop", "v", "b", 1);
}

static void unknown_kind_is_named(void **state)
{
    ASSERT_REFUSED(options_read_attach, "'events'", "'sgnal'", "a{sv}", 1, "events", "as", 2,
                   "exec", "sgnal");
    ASSERT_REFUSED(read_filter, "'stops'", "'SIGNAL'", "a{sv}", 1, "stops", "as", 1, "SIGNAL");
    ASSERT_REFUSED(options_read_attach, "'events'", "''", "a{sv}", 1, "events", "as", 1, "");
}

static void thread_that_is_gone_cannot_be_stopped(void **state)
{
    ASSERT_REFUSED(options_read_attach, "'stops'", "exited", "a{sv}", 1, "stops", "as", 1,
                   "exited");
    ASSERT_REFUSED(options_read_attach, "'stops'", "killed", "a{sv}", 1, "stops", "as", 2, "exec",
                   "killed");
    ASSERT_REFUSED(read_filter, "'stops'", "lost", "a{sv}", 1, "stops", "as", 1, "lost");
}

static void quiet_threads_are_followed_without_an_event(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    o.filter.quiet_threads = true;
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "threads", "s", "quiet");
    o.filter.quiet_threads = false;
    o.filter.quiet_exit = true;
    ASSERT_READ(options_read_attach, o, "a{sv}", 1, "exit", "s", "quiet");
    ASSERT_READ(read_filter, o, "a{sv}", 1, "exit", "s", "quiet");
    ASSERT_REFUSED(read_filter, "'exit'", "'never'", "a{sv}", 1, "exit", "s", "never");
}

static void calls_are_chosen_by_number_and_result(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    assert_int_equal(filter_add_call(&o.filter, 0), 0);
    assert_int_equal(filter_add_call(&o.filter, 1023), 0);
    ASSERT_READ(read_filter, o, "a{sv}", 1, "syscalls", "at", 2, UINT64_C(1023), UINT64_C(0));
    ASSERT_REFUSED(read_filter, "'syscalls'", "'1024'", "a{sv}", 1, "syscalls", "at", 1,
                   UINT64_C(1024));
    o = ATTACH_REQUEST_DEFAULT;
    assert_int_equal(filter_add_errno(&o.filter, 2), 0);
    o.filter.any_error = true;
    ASSERT_READ(read_filter, o, "a{sv}", 1, "results", "ai", 2, 2, -1);
    ASSERT_REFUSED(read_filter, "'results'", "'-2'", "a{sv}", 1, "results", "ai", 1, -2);
    ASSERT_REFUSED(read_filter, "'results'", "'192'", "a{sv}", 1, "results", "ai", 1, 192);
}

static void signals_are_passed_by_number(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    o.filter.pass_signals = UINT64_C(1) << 63 | 1;
    ASSERT_READ(read_filter, o, "a{sv}", 1, "pass-signals", "ai", 2, 64, 1);
    ASSERT_REFUSED(read_filter, "'pass-signals'", "'0'", "a{sv}", 1, "pass-signals", "ai", 1, 0);
    ASSERT_REFUSED(read_filter, "'pass-signals'", "'65'", "a{sv}", 1, "pass-signals", "ai", 1, 65);
}

#define CAPTURE(number, argument, when, type, from, size)                                          \
    "a{sv}", 1, "captures", "a(uussuu)", 1, number, argument, when, type, from, size

static void capture_that_makes_no_sense_is_refused(void **state)
{
    struct attach_request o = ATTACH_REQUEST_DEFAULT;

    o.filter.n_captures = 1;
    ASSERT_READ(read_filter, o, CAPTURE(0, 1, "exit", "buffer", 6, 100));
    ASSERT_REFUSED(read_filter, "'captures'", "'1024'", CAPTURE(1024, 1, "exit", "fixed", 0, 1));
    ASSERT_REFUSED(read_filter, "'captures'", "'6'", CAPTURE(0, 6, "exit", "fixed", 0, 1));
    ASSERT_REFUSED(read_filter, "'captures'", "'7'", CAPTURE(0, 0, "exit", "buffer", 7, 1));
    ASSERT_REFUSED(read_filter, "'captures'", "'later'", CAPTURE(0, 0, "later", "fixed", 0, 1));
    ASSERT_REFUSED(read_filter, "'captures'", "'text'", CAPTURE(0, 0, "exit", "text", 0, 1));
    ASSERT_REFUSED(read_filter, "'captures'", "'0'", CAPTURE(0, 0, "exit", "fixed", 0, 0));
    ASSERT_REFUSED(read_filter, "'captures'", "'16385'", CAPTURE(0, 0, "exit", "fixed", 0, 16385));
    ASSERT_REFUSED(read_filter, "'captures'", "result", CAPTURE(0, 0, "enter", "buffer", 6, 1));
}

static void thread_is_continued_as_asked(void **state)
{
    ASSERT_READ(read_continue, ATTACH_REQUEST_DEFAULT, "a{sv}", 1, "mode", "s", "block-step");
    ASSERT_REFUSED(read_continue, "'mode'", "'walk'", "a{sv}", 1, "mode", "s", "walk");
    ASSERT_REFUSED(read_continue, "'signal'", "'0'", "a{sv}", 1, "signal", "i", 0);
    ASSERT_REFUSED(read_continue, "'signal'", "'65'", "a{sv}", 1, "signal", "i", 65);
    ASSERT_REFUSED(read_continue, "'signal'", "'suppress'", "a{sv}", 2, "signal", "i", 1,
                   "suppress", "b", 1);
    ASSERT_REFUSED(read_continue, "'range'", "'empty'", "a{sv}", 2, "mode", "s", "step", "range",
                   "(tt)", UINT64_C(5), UINT64_C(5));
    ASSERT_REFUSED(read_continue, "'range'", "'step'", "a{sv}", 1, "range", "(tt)", UINT64_C(5),
                   UINT64_C(6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, bus_fixture_setup, bus_fixture_teardown)
        TEST(no_option_changes_nothing),
        TEST(threads_are_followed_or_not),
        TEST(children_are_followed_or_not),
        TEST(process_is_stopped_at_once_or_not),
        TEST(each_kind_of_event_can_be_chosen),
        TEST(several_kinds_add_up_and_none_is_none),
        TEST(kinds_that_stop_are_chosen_apart),
        TEST(all_options_together),
        TEST(unknown_key_is_named),
        TEST(key_of_another_method_is_unknown),
        TEST(wrong_type_is_named_with_its_key),
        TEST(unknown_kind_is_named),
        TEST(thread_that_is_gone_cannot_be_stopped),
        TEST(quiet_threads_are_followed_without_an_event),
        TEST(calls_are_chosen_by_number_and_result),
        TEST(signals_are_passed_by_number),
        TEST(capture_that_makes_no_sense_is_refused),
        TEST(thread_is_continued_as_asked),
#undef TEST
    };

    ptraced_errors_register();
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
