/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/macro.h"
#include "daemon/broker/copy.h"
#include "tests/unit/bus-fixture.h"

/* What a message says, in words. It is left at its end. */
static char *dump(sd_bus_message *m)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    assert_non_null(f);
    assert_return_code(sd_bus_message_rewind(m, true), 0);
    assert_return_code(sd_bus_message_dump(m, f, SD_BUS_MESSAGE_DUMP_SUBTREE_ONLY), 0);
    fclose(f);
    assert_return_code(sd_bus_message_rewind(m, true), 0);
    return text;
}

/* Sends a message on as the broker does, and looks at it at its other end. */
static void assert_is_copied(struct bus_fixture *f, sd_bus_message *m)
{
    _cleanup_bus_message_ sd_bus_message *copy = bus_fixture_message(f);
    _cleanup_free_string_ char *before = NULL, *after = NULL;
    sd_bus_message *got = bus_fixture_pass(f, m);

    before = dump(got);
    assert_return_code(copy_body(copy, got), 0);
    assert_int_equal(sd_bus_message_at_end(got, true), 1);
    got = bus_fixture_pass(f, copy);
    after = dump(got);
    assert_string_equal(before, after);
}

static void body_of_every_type(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);

    assert_return_code(sd_bus_message_append(m, "ybnqiuxtdsog", 1, 1, -2, 3, -4, 5u, (int64_t)-6,
                                             (uint64_t)7, 8.5, "nine", "/ten", "a{sv}"),
                       0);
    assert_return_code(sd_bus_message_append(m, "(s(ub))a{sv}v", "in", 1u, 0, 2, "k", "as", 2, "a",
                                             "b", "l", "v", "ay", 2, 1, 2, "at", 2, (uint64_t)1,
                                             UINT64_MAX),
                       0);
    assert_is_copied(f, m);
}

static void arrays_of_every_number(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);

    assert_return_code(sd_bus_message_append(m, "ayabanaqaiauaxatad", 3, 1, 2, 3, 2, 0, 1, 1, -1, 1,
                                             65535, 1, -7, 1, 8u, 1, INT64_MIN, 1, UINT64_MAX, 2,
                                             1.5, -1.5),
                       0);
    assert_is_copied(f, m);
}

static void empty_arrays(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);

    assert_return_code(sd_bus_message_append(m, "ayataayasa(tt)a{sv}u", 0, 0, 2, 0, 0, 0, 0, 0, 7u),
                       0);
    assert_is_copied(f, m);
}

static void message_without_a_body(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);

    assert_is_copied(f, m);
}

static void megabyte_of_bytes_among_others(void **state)
{
    const size_t size = (size_t)1 << 20;
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f),
                                         *copy = bus_fixture_message(f);
    _cleanup_free_string_ unsigned char *bytes = malloc(size);
    const char *before, *after;
    sd_bus_message *got;
    const void *copied;
    size_t n;

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 256);
    assert_return_code(sd_bus_message_append(m, "s", "before"), 0);
    assert_return_code(sd_bus_message_append_array(m, 'y', bytes, size), 0);
    assert_return_code(sd_bus_message_append(m, "s", "after"), 0);
    got = bus_fixture_pass(f, m);
    assert_return_code(copy_body(copy, got), 0);
    got = bus_fixture_pass(f, copy);
    assert_int_equal(sd_bus_message_read(got, "s", &before), 1);
    assert_int_equal(sd_bus_message_read_array(got, 'y', &copied, &n), 1);
    assert_int_equal(sd_bus_message_read(got, "s", &after), 1);
    assert_string_equal(before, "before");
    assert_string_equal(after, "after");
    assert_int_equal(n, size);
    assert_memory_equal(copied, bytes, size);
}

static void what_makes_a_message_large_is_counted(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f),
                                         *copy = bus_fixture_message(f);
    size_t n_bytes = 1;

    assert_return_code(sd_bus_message_append(m, "usa{sv}", 7u, "four", 2, "key", "ay", 5, 1, 2, 3,
                                             4, 5, "other", "at", 2, (uint64_t)1, (uint64_t)2),
                       0);
    assert_return_code(copy_body_counted(copy, bus_fixture_pass(f, m), &n_bytes), 0);
    assert_int_equal(n_bytes, 1 + 4 + 3 + 5 + 5 + 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, bus_fixture_setup, bus_fixture_teardown)
        TEST(body_of_every_type),
        TEST(arrays_of_every_number),
        TEST(empty_arrays),
        TEST(message_without_a_body),
        TEST(megabyte_of_bytes_among_others),
        TEST(what_makes_a_message_large_is_counted),
#undef TEST
    };

    return cmocka_run_group_tests_name("broker-copy", tests, NULL, NULL);
}
