/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/process.h"
#include "daemon/broker/target.h"
#include "tests/unit/bus-fixture.h"

static void test_what_the_keeper_says_is_read(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    struct target t;

    /* With a key that is not known, and one that is not used. */
    assert_return_code(
        sd_bus_message_append(m, "a{sv}", 14, "pid", "u", 4711, "comm", "s", "cat", "executable",
                              "s", "/usr/bin/cat", "gids", "au", 4, 5, 6, 7, 8, "permitted", "t",
                              UINT64_C(9), "user-namespace", "t", UINT64_C(10), "dumpable", "b", 1,
                              "uids", "au", 4, 1, 2, 3, 4, "kernel-thread", "b", 0, "zombie", "b",
                              1, "own", "b", 0, "tracer-pid", "u", 815, "tracer-comm", "s", "gdb",
                              "colour", "t", UINT64_C(1)),
        0);
    assert_return_code(target_read(bus_fixture_pass(*state, m), &t), 0);
    assert_int_equal(t.pid, 4711);
    assert_int_equal(t.tracer, 815);
    assert_string_equal(t.comm, "cat");
    assert_string_equal(t.tracer_comm, "gdb");
    assert_true(t.zombie);
    assert_false(t.kernel_thread);
    assert_false(t.own);
    assert_string_equal(t.executable, "/usr/bin/cat");
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(t.uids[i], 1 + i);
        assert_int_equal(t.gids[i], 5 + i);
    }
    assert_true(t.permitted == 9 && t.user_namespace == 10);
    assert_true(t.dumpable);
    target_done(&t);
    assert_null(t.executable);
}

static void test_ids_have_to_be_four(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    struct target t = {.pid = 1};

    assert_return_code(sd_bus_message_append(m, "a{sv}", 3, "executable", "s", "/bin/cat", "pid",
                                             "u", 4711, "uids", "au", 3, 1, 2, 3),
                       0);
    assert_int_equal(target_read(bus_fixture_pass(*state, m), &t), -EBADMSG);
}

static void test_what_is_needed_has_to_be_there(void **state)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(*state);
    struct target t = {.pid = 1};

    assert_return_code(sd_bus_message_append(m, "a{sv}", 1, "comm", "s", "cat"), 0);
    assert_int_equal(target_read(bus_fixture_pass(*state, m), &t), -EBADMSG);
    assert_int_equal(t.pid, 1);
}

static void test_verdicts(void **state)
{
    static const struct {
        struct target target;
        bool ours;
        const char *error; /* NULL: may be traced */
        const char *word;
    } cases[] = {
        {{.pid = 10}, false, NULL, ""},
        {{.pid = 10, .tracer = 5}, true, NULL, ""},
        {{.pid = 10, .tracer = 5, .tracer_comm = "gdb"},
         false,
         PTRACED_ERROR_ALREADY_TRACED,
         "process 5 (gdb)"},
        {{.pid = 10, .tracer = 5, .tracer_own = true},
         false,
         PTRACED_ERROR_TRACER_GONE,
         "attach again"},
        {{.pid = 2, .kernel_thread = true}, false, PTRACED_ERROR_NOT_SUPPORTED, "kernel thread"},
        {{.pid = 10, .own = true}, false, PTRACED_ERROR_NOT_PERMITTED, "itself"},
        {{.pid = 10, .zombie = true}, false, PTRACED_ERROR_NO_SUCH_PROCESS, "has ended"},
        {{.pid = 10, .own = true, .tracer = 5}, true, PTRACED_ERROR_NOT_PERMITTED, "Process 10"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = target_check(&cases[i].target, cases[i].ours, &error);

        assert_int_equal(r < 0, cases[i].error != NULL);
        if (!cases[i].error)
            continue;
        assert_true(sd_bus_error_has_name(&error, cases[i].error));
        assert_non_null(strstr(error.message, cases[i].word));
    }
}

static void test_own_pidfd(void **state)
{
    int fd = -1;
    pid_t pid = 0;

    assert_return_code(process_open(getpid(), &fd), 0);
    assert_return_code(process_of_pidfd(fd, &pid), 0);
    assert_int_equal(pid, getpid());
    close(fd);
}

static void test_what_is_no_pidfd(void **state)
{
    int fds[2];
    pid_t pid = 1;

    assert_return_code(pipe(fds), errno);
    assert_int_equal(process_of_pidfd(fds[0], &pid), -EBADF);
    assert_int_equal(pid, 1);
    close(fds[0]);
    close(fds[1]);
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
        WITH_BUS(test_what_the_keeper_says_is_read),
        WITH_BUS(test_what_is_needed_has_to_be_there),
        WITH_BUS(test_ids_have_to_be_four),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_own_pidfd),
        cmocka_unit_test(test_what_is_no_pidfd),
    };

    return cmocka_run_group_tests(tests, register_errors, NULL);
}
