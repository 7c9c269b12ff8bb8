/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/event.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "tests/unit/bus-fixture.h"

#define PATH PTRACED_SESSION_PREFIX "/s1/process/10"

typedef struct ptraced_event_record record;

static record example(void)
{
    return (record){.serial = UINT64_MAX,
                    .usec = UINT64_C(1) << 40,
                    .session = "s1",
                    .pid = 10,
                    .tid = 11,
                    .kind = "signal",
                    .stopped = true};
}

/* Sends one event and reads it. */
static int pass(struct bus_fixture *f, const record *e, record *ret)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);

    assert_return_code(ptraced_event_append(m, e), 0);
    return ptraced_event_read(bus_fixture_pass(f, m), ret);
}

static void every_field_arrives(void **state)
{
    _cleanup_(ptraced_event_done) record got = {0};
    record e = example();

    assert_int_equal(pass(*state, &e, &got), 1);
    assert_true(got.serial == UINT64_MAX);
    assert_true(got.usec == UINT64_C(1) << 40);
    assert_string_equal(got.session, "s1");
    assert_int_equal(got.pid, 10);
    assert_int_equal(got.tid, 11);
    assert_string_equal(got.kind, "signal");
    assert_true(got.stopped);
    assert_int_equal(got.n_details, 0);

    e.stopped = false;
    assert_int_equal(pass(*state, &e, &got), 1);
    assert_false(got.stopped);
}

static void every_kind_fits(void **state)
{
#define KIND(id, text) text,
    static const char *const kinds[] = {PTRACED_EVENT_KINDS(KIND)};
#undef KIND

    for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
        _cleanup_(ptraced_event_done) record got = {0};
        record e = example();

        assert_true(strlen(kinds[i]) < sizeof(e.kind));
        strcpy(e.kind, kinds[i]);
        assert_int_equal(pass(*state, &e, &got), 1);
        assert_string_equal(got.kind, kinds[i]);
    }
}

static void details_of_each_type_arrive(void **state)
{
    _cleanup_(ptraced_event_done) record e = example(), got = {0};

    ptraced_event_add_i(&e, "status", INT32_MIN);
    ptraced_event_add_u(&e, "child", UINT32_MAX);
    ptraced_event_add_t(&e, "address", UINT64_MAX);
    ptraced_event_add_b(&e, "core", true);
    ptraced_event_add_b(&e, "thread", false);
    assert_return_code(ptraced_event_add_s(&e, "reason",
                                           "det\xc3\xa4"
                                           "ched"),
                       0);

    assert_int_equal(pass(*state, &e, &got), 1);
    assert_int_equal(got.n_details, 6);
    assert_int_equal(ptraced_event_detail(&got, "status")->type, SD_BUS_TYPE_INT32);
    assert_int_equal(ptraced_event_detail(&got, "status")->i, INT32_MIN);
    assert_int_equal(ptraced_event_detail(&got, "child")->type, SD_BUS_TYPE_UINT32);
    assert_int_equal(ptraced_event_detail(&got, "child")->u, UINT32_MAX);
    assert_int_equal(ptraced_event_detail(&got, "address")->type, SD_BUS_TYPE_UINT64);
    assert_true(ptraced_event_detail(&got, "address")->t == UINT64_MAX);
    assert_int_equal(ptraced_event_detail(&got, "core")->type, SD_BUS_TYPE_BOOLEAN);
    assert_true(ptraced_event_detail(&got, "core")->b);
    assert_false(ptraced_event_detail(&got, "thread")->b);
    assert_int_equal(ptraced_event_detail(&got, "reason")->type, SD_BUS_TYPE_STRING);
    assert_string_equal(ptraced_event_detail(&got, "reason")->s, "det\xc3\xa4"
                                                                 "ched");
    assert_null(ptraced_event_detail(&got, "stat"));
    assert_null(ptraced_event_detail(&got, "statuses"));
}

static void form_on_the_wire_is_the_documented_one(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    const char *path, *kind, *key;
    uint64_t serial, usec;
    record e = example();
    sd_bus_message *got;
    int stopped, status;
    uint32_t tid;

    ptraced_event_add_i(&e, "status", -3);
    assert_return_code(ptraced_event_append(m, &e), 0);
    got = bus_fixture_pass(f, m);
    assert_string_equal(sd_bus_message_get_signature(got, true), PTRACED_EVENT_SIGNATURE);
    assert_int_equal(sd_bus_message_read(got, PTRACED_EVENT_SIGNATURE, &serial, &usec, &path, &tid,
                                         &kind, &stopped, 1, &key, "i", &status),
                     1);
    assert_true(serial == e.serial && usec == e.usec);
    assert_string_equal(path, PATH);
    assert_int_equal(tid, 11);
    assert_string_equal(kind, "signal");
    assert_int_equal(stopped, 1);
    assert_string_equal(key, "status");
    assert_int_equal(status, -3);
}

static void array_of_events_is_read_to_its_end(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    _cleanup_(ptraced_event_done) record untouched = {.serial = 77};
    sd_bus_message *got;

    assert_return_code(sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE),
                       0);
    for (uint64_t serial = 1; serial <= 3; serial++) {
        record e = example();

        e.serial = serial;
        ptraced_event_add_t(&e, "serial", serial);
        assert_return_code(ptraced_event_append(m, &e), 0);
    }
    assert_return_code(sd_bus_message_close_container(m), 0);

    got = bus_fixture_pass(f, m);
    assert_int_equal(
        sd_bus_message_enter_container(got, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE), 1);
    for (uint64_t serial = 1; serial <= 3; serial++) {
        _cleanup_(ptraced_event_done) record e = {0};

        assert_int_equal(ptraced_event_read(got, &e), 1);
        assert_int_equal(e.serial, serial);
        assert_int_equal(ptraced_event_detail(&e, "serial")->t, serial);
    }
    assert_int_equal(ptraced_event_read(got, &untouched), 0);
    assert_int_equal(untouched.serial, 77);
    assert_return_code(sd_bus_message_exit_container(got), 0);
}

static void detail_of_an_unknown_type_is_skipped(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    _cleanup_(ptraced_event_done) record got = {0};

    /* clang-format off */
    assert_return_code(
        sd_bus_message_append(m, PTRACED_EVENT_SIGNATURE,
                              UINT64_C(1), UINT64_C(2), PATH, UINT32_C(11), "signal", 0, 7,
                              "registers", "a{sv}", 1, "pc", "t", UINT64_C(4096),
                              "double", "d", 1.5,
                              "signal", "i", 10,
                              "struct", "(isas)", 1, "x", 0,
                              "variant", "v", "s", "inner",
                              "int16", "n", 1,
                              "reason", "s", "known"),
        0);
    /* clang-format on */
    assert_int_equal(ptraced_event_read(bus_fixture_pass(f, m), &got), 1);
    assert_int_equal(got.n_details, 2);
    assert_int_equal(ptraced_event_detail(&got, "signal")->i, 10);
    assert_string_equal(ptraced_event_detail(&got, "reason")->s, "known");
}

static void detail_beyond_the_room_for_them_is_skipped(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    _cleanup_(ptraced_event_done) record got = {0};

    assert_return_code(sd_bus_message_open_container(m, 'r', PTRACED_EVENT_CONTENTS), 0);
    assert_return_code(sd_bus_message_append(m, "ttousb", UINT64_C(1), UINT64_C(2), PATH,
                                             UINT32_C(11), "signal", 0),
                       0);
    assert_return_code(sd_bus_message_open_container(m, 'a', "{sv}"), 0);
    assert_return_code(sd_bus_message_append(m, "{sv}", "a-key-that-is-longer-than-any", "s", "x"),
                       0);
    for (int i = 0; i < 20; i++) {
        char key[8];

        snprintf(key, sizeof(key), "k%d", i);
        assert_return_code(sd_bus_message_append(m, "{sv}", key, "i", i), 0);
        snprintf(key, sizeof(key), "s%d", i);
        assert_return_code(sd_bus_message_append(m, "{sv}", key, "s", "text"), 0);
    }
    assert_return_code(sd_bus_message_close_container(m), 0);
    assert_return_code(sd_bus_message_close_container(m), 0);

    assert_int_equal(ptraced_event_read(bus_fixture_pass(f, m), &got), 1);
    assert_int_equal(got.n_details, PTRACED_EVENT_DETAILS_MAX);
    assert_string_equal(got.details[0].key, "k0");
    assert_string_equal(got.details[PTRACED_EVENT_DETAILS_MAX - 1].key, "s7");
}

static void detail_that_does_not_fit_is_not_added(void **state)
{
    _cleanup_(ptraced_event_done) record e = {0};

    ptraced_event_add_i(&e, "123456789012345678901234", 1);
    assert_int_equal(ptraced_event_add_s(&e, "123456789012345678901234", "x"), -ENOSPC);
    assert_int_equal(e.n_details, 0);
    ptraced_event_add_i(&e, "12345678901234567890123", 1);
    assert_int_equal(e.n_details, 1);
    while (e.n_details < PTRACED_EVENT_DETAILS_MAX)
        assert_return_code(ptraced_event_add_s(&e, "key", "x"), 0);
    assert_int_equal(ptraced_event_add_s(&e, "key", "x"), -ENOSPC);
    ptraced_event_add_b(&e, "last", true);
    assert_int_equal(e.n_details, PTRACED_EVENT_DETAILS_MAX);
    assert_null(ptraced_event_detail(&e, "last"));
}

static void long_kind_of_a_newer_daemon_is_cut(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    _cleanup_(ptraced_event_done) record got = {0};

    assert_return_code(sd_bus_message_append(m, PTRACED_EVENT_SIGNATURE, UINT64_C(1), UINT64_C(2),
                                             PATH, UINT32_C(11), "a-kind-of-event-with-a-long-name",
                                             1, 0),
                       0);
    assert_int_equal(ptraced_event_read(bus_fixture_pass(f, m), &got), 1);
    assert_string_equal(got.kind, "a-kind-of-event");
}

static int read_with_path(struct bus_fixture *f, const char *path, record *ret)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);

    assert_return_code(sd_bus_message_append(m, PTRACED_EVENT_SIGNATURE, UINT64_C(1), UINT64_C(2),
                                             path, UINT32_C(11), "signal", 0, 1, "reason", "s",
                                             "x"),
                       0);
    return ptraced_event_read(bus_fixture_pass(f, m), ret);
}

static void path_that_is_no_process_is_refused(void **state)
{
    static const char *const paths[] = {
        "/",
        PTRACED_ROOT_PATH,
        PTRACED_SESSION_PREFIX "/s1",
        PTRACED_SESSION_PREFIX "/s1/process",
        PATH "/thread",
        PATH "/thread/11",
        PTRACED_SESSION_PREFIX "/s1/process/010",
        PTRACED_SESSION_PREFIX "/S1/process/10",
        "/org/example/session/s1/process/10",
    };
    _cleanup_(ptraced_event_done) record got = {.serial = 77};

    for (size_t i = 0; i < ELEMENTSOF(paths); i++)
        assert_int_equal(read_with_path(*state, paths[i], &got), -EBADMSG);
    assert_int_equal(got.serial, 77); /* written only where it was read */
    assert_int_equal(got.n_details, 0);
    assert_int_equal(read_with_path(*state, PATH, &got), 1);
}

static void message_of_another_form_is_an_error(void **state)
{
    struct bus_fixture *f = *state;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f);
    record got = {.serial = 77};

    assert_return_code(sd_bus_message_append(m, "s", "no event"), 0);
    assert_true(ptraced_event_read(bus_fixture_pass(f, m), &got) < 0);
    assert_int_equal(got.serial, 77);
}

static void record_that_is_all_zero_can_be_ended(void **state)
{
    record e = {0};

    ptraced_event_done(&e);
    assert_return_code(ptraced_event_add_s(&e, "key", "x"), 0);
    ptraced_event_done(&e);
    assert_int_equal(e.n_details, 0);
    ptraced_event_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, bus_fixture_setup, bus_fixture_teardown)
        TEST(every_field_arrives),
        TEST(every_kind_fits),
        TEST(details_of_each_type_arrive),
        TEST(form_on_the_wire_is_the_documented_one),
        TEST(array_of_events_is_read_to_its_end),
        TEST(detail_of_an_unknown_type_is_skipped),
        TEST(detail_beyond_the_room_for_them_is_skipped),
        TEST(long_kind_of_a_newer_daemon_is_cut),
        TEST(path_that_is_no_process_is_refused),
        TEST(message_of_another_form_is_an_error),
        cmocka_unit_test(detail_that_does_not_fit_is_not_added),
        cmocka_unit_test(record_that_is_all_zero_can_be_ended),
#undef TEST
    };

    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
