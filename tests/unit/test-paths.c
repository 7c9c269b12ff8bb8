/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <systemd/sd-bus.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"

#define S PTRACED_SESSION_PREFIX
#define LONGEST_ID "a123456789012345678901234567890" /* 31 */

static void each_form_is_read(void **state)
{
    static const struct {
        const char *path;
        struct ptraced_path expected;
    } examples[] = {
        {S "/s1", {PTRACED_PATH_SESSION, "s1"}},
        {S "/a", {PTRACED_PATH_SESSION, "a"}},
        {S "/" LONGEST_ID, {PTRACED_PATH_SESSION, LONGEST_ID}},
        {S "/process", {PTRACED_PATH_SESSION, "process"}}, /* a session may be called that */
        {S "/s1/process", {PTRACED_PATH_PROCESS_LIST, "s1"}},
        {S "/process/process/1", {PTRACED_PATH_PROCESS, "process", 1}},
        {S "/s1/process/1", {PTRACED_PATH_PROCESS, "s1", 1}},
        {S "/s1/process/2147483647", {PTRACED_PATH_PROCESS, "s1", INT_MAX}},
        {S "/s1/process/10/thread", {PTRACED_PATH_THREAD_LIST, "s1", 10}},
        {S "/s1/process/10/thread/100", {PTRACED_PATH_THREAD, "s1", 10, 100}},
        {S "/s1/process/1/thread/2147483647", {PTRACED_PATH_THREAD, "s1", 1, INT_MAX}},
    };

    for (size_t i = 0; i < ELEMENTSOF(examples); i++) {
        struct ptraced_path got;

        assert_int_equal(ptraced_path_parse(examples[i].path, &got), examples[i].expected.kind);
        assert_int_equal(got.kind, examples[i].expected.kind);
        assert_string_equal(got.session, examples[i].expected.session);
        assert_int_equal(got.pid, examples[i].expected.pid);
        assert_int_equal(got.tid, examples[i].expected.tid);
    }
}

static void assert_invalid(const char *path)
{
    struct ptraced_path got;

    memset(&got, 0xff, sizeof(got));
    if (ptraced_path_parse(path, &got) != PTRACED_PATH_INVALID)
        fail_msg("'%s' was read as a path", path);
    assert_int_equal(got.kind, PTRACED_PATH_INVALID);
    assert_string_equal(got.session, "");
    assert_int_equal(got.pid, 0);
    assert_int_equal(got.tid, 0);
}

static void number_has_one_spelling_only(void **state)
{
    static const char *const numbers[] = {
        "0",           "01",
        "007",         "-1",
        "+1",          " 1",
        "1 ",          "0x10",
        "1a",          "a1",
        "2147483648",  /* INT_MAX + 1 */ "4294967297", /* 2^32 + 1 */
        "99999999999", "100000000000000000001",
        "1\n",         "1.0",
        "\xd9\xa1",
    };

    for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
        char path[PTRACED_PATH_MAX];

        snprintf(path, sizeof(path), S "/s1/process/%s", numbers[i]);
        assert_invalid(path);
        snprintf(path, sizeof(path), S "/s1/process/%s/thread", numbers[i]);
        assert_invalid(path);
        snprintf(path, sizeof(path), S "/s1/process/1/thread/%s", numbers[i]);
        assert_invalid(path);
    }
}

static void slashes_are_where_they_belong(void **state)
{
    static const char *const paths[] = {
        "",
        "/",
        S,
        S "/",
        S "//s1",
        S "/s1/",
        S "/s1//process",
        S "/s1/process/",
        S "/s1/process//1",
        S "/s1/process//thread",
        S "/s1/process//thread/1",
        S "/s1/process/1/",
        S "/s1/process/1//thread",
        S "/s1/process/1/thread/",
        S "/s1/process/1/thread//1",
        S "/s1/process/1/thread/1/",
        "/" S "/s1",
    };

    for (size_t i = 0; i < ELEMENTSOF(paths); i++)
        assert_invalid(paths[i]);
}

static void other_objects_are_not_ours(void **state)
{
    static const char *const paths[] = {
        PTRACED_ROOT_PATH,
        "/org/ptraced/Tracer1/sessions/s1",
        "/org/ptraced/Tracer2/session/s1",
        "/org/ptraced/tracer1/session/s1",
        "org/ptraced/Tracer1/session/s1",
        S "s1",
        S "/s1/Process/1",
        S "/s1/processes/1",
        S "/s1/proces/1",
        S "/s1/process/1/Thread/1",
        S "/s1/process/1/threads/1",
        S "/s1/process/1/process/1",
        S "/s1/process/1/thread/1/thread/1",
        S "/s1/process/1/thread/1/x",
        S "/s1/1",
        S "/s1/thread/1",
    };

    for (size_t i = 0; i < ELEMENTSOF(paths); i++)
        assert_invalid(paths[i]);
}

static void session_id_is_lower_case_and_short(void **state)
{
    static const char *const bad[] = {
        "",    "1",   "1s",   "S1",       "sA",           "s_1", "s-1",
        "s.1", "s 1", "s1\n", "\xc3\xa4", LONGEST_ID "1", "s/1", "_31",
    };
    static const char *const good[] = {"a", "z", "s1", "z9z", "session", LONGEST_ID};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        char path[PTRACED_PATH_MAX];

        assert_false(ptraced_session_id_valid(bad[i]));
        snprintf(path, sizeof(path), S "/%s", bad[i]);
        assert_invalid(path);
        snprintf(path, sizeof(path), S "/%s/process/1", bad[i]);
        assert_invalid(path);
    }
    for (size_t i = 0; i < ELEMENTSOF(good); i++)
        assert_true(ptraced_session_id_valid(good[i]));
    assert_false(ptraced_session_id_valid(NULL));
}

static void overlong_path_is_refused(void **state)
{
    char path[4096];

    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    memcpy(path, S "/", strlen(S "/"));
    assert_invalid(path);
    memset(path, '1', sizeof(path) - 1);
    memcpy(path, S "/s1/process/", strlen(S "/s1/process/"));
    assert_invalid(path);
}

static void what_is_written_is_read_again(void **state)
{
    static const char *const ids[] = {"s1", "a", LONGEST_ID};
    static const pid_t numbers[] = {1, 9, 10, 4194304, INT_MAX};

    for (size_t i = 0; i < ELEMENTSOF(ids); i++)
        for (size_t k = 0; k < ELEMENTSOF(numbers); k++) {
            char buffer[PTRACED_PATH_MAX];
            struct ptraced_path got;

            assert_ptr_equal(ptraced_path_session(buffer, ids[i]), buffer);
            assert_int_equal(ptraced_path_parse(buffer, &got), PTRACED_PATH_SESSION);
            assert_string_equal(got.session, ids[i]);

            assert_ptr_equal(ptraced_path_process(buffer, ids[i], numbers[k]), buffer);
            assert_int_equal(ptraced_path_parse(buffer, &got), PTRACED_PATH_PROCESS);
            assert_string_equal(got.session, ids[i]);
            assert_int_equal(got.pid, numbers[k]);

            assert_ptr_equal(ptraced_path_thread(buffer, ids[i], numbers[k], INT_MAX), buffer);
            assert_int_equal(ptraced_path_parse(buffer, &got), PTRACED_PATH_THREAD);
            assert_string_equal(got.session, ids[i]);
            assert_int_equal(got.pid, numbers[k]);
            assert_int_equal(got.tid, INT_MAX);
            assert_true(sd_bus_object_path_is_valid(buffer));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_read),
        cmocka_unit_test(number_has_one_spelling_only),
        cmocka_unit_test(slashes_are_where_they_belong),
        cmocka_unit_test(other_objects_are_not_ours),
        cmocka_unit_test(session_id_is_lower_case_and_short),
        cmocka_unit_test(overlong_path_is_refused),
        cmocka_unit_test(what_is_written_is_read_again),
    };

    return cmocka_run_group_tests_name("paths", tests, NULL, NULL);
}
