/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/options.h"
#include "tests/unit/bus-fixture.h"

struct values {
    const char *name;
    int queue;
};

/* Sends the options that the arguments describe, as of sd_bus_message_append(), and reads them. */
static int read_options(struct bus_fixture *f, struct values *ret, sd_bus_error *error,
                        const char *types, ...)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    const struct option_rule rules[] = {
        {"name", "s", &ret->name},
        {"queue", "b", &ret->queue},
        {"kinds", "as", NULL},
    };
    va_list ap;
    int r;

    va_start(ap, types);
    r = sd_bus_message_appendv(m, types, ap);
    va_end(ap);
    assert_return_code(r, -r);
    return options_read(bus_fixture_pass(f, m), rules, ELEMENTSOF(rules), error);
}

/* Refused with InvalidOption, and all three words in the message. */
#define ASSERT_REFUSED(word, other, third, ...)                                                    \
    do {                                                                                           \
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;                                \
        struct values got = {0};                                                                   \
        assert_int_equal(read_options(*state, &got, &error, __VA_ARGS__), -EINVAL);                \
        assert_true(sd_bus_error_has_name(&error, PTRACED_ERROR_INVALID_OPTION));                  \
        if (!strstr(error.message, word) || !strstr(error.message, other) ||                       \
            !strstr(error.message, third))                                                         \
            fail_msg("\"%s\"", error.message);                                                     \
    } while (0)

static void test_none(void **state)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    struct values got = {.name = "default", .queue = 1};

    assert_return_code(read_options(*state, &got, &error, "a{sv}", 0), 0);
    assert_string_equal(got.name, "default");
    assert_int_equal(got.queue, 1);
}

static void test_all(void **state)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    struct values got = {0};

    assert_return_code(read_options(*state, &got, &error, "a{sv}", 3, "queue", "b", 1, "kinds",
                                    "as", 2, "exec", "exit", "name", "s", "one"),
                       0);
    assert_string_equal(got.name, "one");
    assert_int_equal(got.queue, 1);
}

static void test_unknown_key_is_named(void **state)
{
    ASSERT_REFUSED("\"colour\"", "name", "kinds", "a{sv}", 1, "colour", "s", "red");
    ASSERT_REFUSED("\"\"", "name", "kinds", "a{sv}", 1, "", "s", "red");
    /* What would forge a line is escaped. */
    ASSERT_REFUSED("\"a\\x0ab\"", "name", "kinds", "a{sv}", 1, "a\nb", "s", "red");
}

static void test_wrong_type_is_named(void **state)
{
    ASSERT_REFUSED("\"name\"", "type s", "not u", "a{sv}", 1, "name", "u", 5);
    ASSERT_REFUSED("\"queue\"", "type b", "not s", "a{sv}", 1, "queue", "s", "yes");
    ASSERT_REFUSED("\"kinds\"", "type as", "not s", "a{sv}", 1, "kinds", "s", "exec");
    ASSERT_REFUSED("\"kinds\"", "type as", "not av", "a{sv}", 1, "kinds", "av", 0);
}

static void test_twice_is_refused(void **state)
{
    ASSERT_REFUSED("\"queue\"", "twice", "", "a{sv}", 2, "queue", "b", 1, "queue", "b", 0);
}

static void test_where_there_are_none(void **state)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);

    assert_return_code(sd_bus_message_append(m, "a{sv}", 1, "mode", "s", "run"), 0);
    assert_int_equal(options_read(bus_fixture_pass(*state, m), NULL, 0, &error), -EINVAL);
    assert_non_null(strstr(error.message, "\"mode\""));
}

static void test_limits_name_themselves(void **state)
{
    for (enum limit limit = 0; limit < _LIMIT_MAX; limit++) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

        assert_int_equal(limit_check(limit, limit_value(limit) - 1, &error), 0);
        assert_false(sd_bus_error_is_set(&error));
        assert_int_equal(limit_check(limit, limit_value(limit), &error), -EDQUOT);
        assert_true(sd_bus_error_has_name(&error, PTRACED_ERROR_LIMIT_EXCEEDED));
        assert_non_null(strstr(error.message, "Max"));
    }
}

static int register_errors(void **state)
{
    ptraced_errors_register();
    return 0;
}

int main(void)
{
#define WITH_BUS(test)                                                                             \
    cmocka_unit_test_setup_teardown(test, bus_fixture_setup, bus_fixture_teardown)
    const struct CMUnitTest tests[] = {
        WITH_BUS(test_none),
        WITH_BUS(test_all),
        WITH_BUS(test_unknown_key_is_named),
        WITH_BUS(test_wrong_type_is_named),
        WITH_BUS(test_twice_is_refused),
        WITH_BUS(test_where_there_are_none),
        cmocka_unit_test(test_limits_name_themselves),
    };

    return cmocka_run_group_tests(tests, register_errors, NULL);
}
