/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/measure.h"
#include "tests/unit/bus-fixture.h"

#define KIB 1024u

static void numbers_and_strings_count(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    sd_bus_message *got;
    struct measure size;
    void *bytes;
    const char *s;

    assert_return_code(sd_bus_message_append(m, "s", "twelve bytes"), 0);
    assert_return_code(sd_bus_message_append_array_space(m, 'y', 100 * KIB, &bytes), 0);
    memset(bytes, 7, 100 * KIB);
    got = bus_fixture_pass(*state, m);
    assert_int_equal(measure_body(got, 200 * KIB, &size), 0);
    assert_in_range(size.n_bytes, 100 * KIB + 12, 100 * KIB + 64);
    assert_int_equal(size.n_fds, 0);
    /* It can still be read. */
    assert_true(sd_bus_message_read(got, "s", &s) > 0);
    assert_string_equal(s, "twelve bytes");
    assert_int_equal(measure_body(got, 99 * KIB, &size), -E2BIG);
    assert_true(sd_bus_message_read(got, "s", &s) > 0);
}

static void what_is_nested_counts_too(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    sd_bus_message *got;
    struct measure size;

    assert_return_code(sd_bus_message_open_container(m, 'a', "{sv}"), 0);
    for (int i = 0; i < 1000; i++)
        assert_return_code(sd_bus_message_append(m, "{sv}", "key", "as", 2, "one", "two"), 0);
    assert_return_code(sd_bus_message_close_container(m), 0);
    got = bus_fixture_pass(*state, m);
    assert_int_equal(measure_body(got, 200 * KIB, &size), 0);
    assert_in_range(size.n_bytes, 9 * 1000, 60 * 1000);
    assert_int_equal(measure_body(got, 5 * KIB, &size), -E2BIG);
}

static void what_is_empty_counts_too(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    sd_bus_message *got;
    struct measure size;

    assert_return_code(sd_bus_message_open_container(m, 'a', "ay"), 0);
    for (int i = 0; i < 10000; i++)
        assert_return_code(sd_bus_message_append(m, "ay", 0), 0);
    assert_return_code(sd_bus_message_close_container(m), 0);
    assert_return_code(sd_bus_message_append(m, "a(aav)", 0), 0);
    got = bus_fixture_pass(*state, m);
    assert_int_equal(measure_body(got, 1024 * KIB, &size), 0);
    assert_true(size.n_bytes >= 10000 * 8);
    assert_int_equal(measure_body(got, 64 * KIB, &size), -E2BIG);
}

static void descriptors_are_counted_wherever_they_are(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    struct measure size;

    assert_return_code(sd_bus_message_append(m, "hv(sh)", 0, "h", 1, "s", 2), 0);
    assert_return_code(sd_bus_message_seal(m, 1, 0), 0);
    assert_int_equal(measure_body(m, KIB, &size), 0);
    assert_int_equal(size.n_fds, 3);
}

static void nothing_is_nothing(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    sd_bus_message *got;
    struct measure size;

    got = bus_fixture_pass(*state, m);
    assert_int_equal(measure_body(got, 0, &size), 0);
    assert_int_equal(size.n_bytes, 0);
}

static void too_much_is_an_error_that_names_the_method(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    sd_bus_message *got;
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    struct measure size;
    void *bytes;

    assert_return_code(sd_bus_message_append_array_space(m, 'y', 65 * KIB, &bytes), 0);
    memset(bytes, 0, 65 * KIB);
    got = bus_fixture_pass(*state, m);
    assert_true(measure_check(got, MEASURE_CALL, &size, &error) < 0);
    assert_string_equal(error.name, PTRACED_ERROR_LIMIT_EXCEEDED);
    assert_non_null(strstr(error.message, "Test"));
    assert_non_null(strstr(error.message, "CallKiBMax"));
    assert_non_null(strstr(error.message, "64 KiB"));
}

static int check_ranges(void *fixture, unsigned n, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(fixture);
    struct measure size;

    assert_return_code(sd_bus_message_open_container(m, 'a', "(tt)"), 0);
    for (unsigned i = 0; i < n; i++)
        assert_return_code(sd_bus_message_append(m, "(tt)", UINT64_C(0), UINT64_MAX), 0);
    assert_return_code(sd_bus_message_close_container(m), 0);
    return measure_check(bus_fixture_pass(fixture, m), MEASURE_RANGES, &size, error);
}

static void ranges_are_counted_exactly(void **state)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    assert_return_code(check_ranges(*state, CALL_RANGES_MAX, &error), 0);
    assert_true(check_ranges(*state, CALL_RANGES_MAX + 1, &error) < 0);
    assert_non_null(strstr(error.message, "no more than 4096 ranges in a call of Test"));
}

static enum measure_limit limit_of(void *fixture, bool unlimited, const char *types, ...)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(fixture);
    va_list ap;
    int r;

    va_start(ap, types);
    r = sd_bus_message_appendv(m, types, ap);
    va_end(ap);
    assert_return_code(r, 0);
    return measure_limit_of(bus_fixture_pass(fixture, m), unlimited);
}

static void only_what_is_in_few_pieces_may_be_large(void **state)
{
    assert_int_equal(limit_of(*state, false, "tay", UINT64_C(0), 0), MEASURE_LARGE);
    assert_int_equal(limit_of(*state, false, "say", "", 0), MEASURE_LARGE);
    assert_int_equal(limit_of(*state, false, "a(tt)", 0), MEASURE_RANGES);
    assert_int_equal(limit_of(*state, true, "a(tt)", 0), MEASURE_LARGE);
    assert_int_equal(limit_of(*state, false, ""), MEASURE_CALL);
    assert_int_equal(limit_of(*state, false, "a(yy)", 0), MEASURE_CALL);
    assert_int_equal(limit_of(*state, false, "tayay", UINT64_C(0), 0, 0), MEASURE_CALL);
    assert_int_equal(limit_of(*state, false, "ta(yy)", UINT64_C(0), 0), MEASURE_CALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_and_strings_count, bus_fixture_setup,
                                        bus_fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_nested_counts_too, bus_fixture_setup,
                                        bus_fixture_teardown),
        cmocka_unit_test_setup_teardown(descriptors_are_counted_wherever_they_are,
                                        bus_fixture_setup, bus_fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_empty_counts_too, bus_fixture_setup,
                                        bus_fixture_teardown),
        cmocka_unit_test_setup_teardown(nothing_is_nothing, bus_fixture_setup,
                                        bus_fixture_teardown),
        cmocka_unit_test_setup_teardown(ranges_are_counted_exactly, bus_fixture_setup,
                                        bus_fixture_teardown),
        cmocka_unit_test_setup_teardown(only_what_is_in_few_pieces_may_be_large, bus_fixture_setup,
                                        bus_fixture_teardown),
        cmocka_unit_test_setup_teardown(too_much_is_an_error_that_names_the_method,
                                        bus_fixture_setup, bus_fixture_teardown),
    };

    return cmocka_run_group_tests_name("measure", tests, NULL, NULL);
}
