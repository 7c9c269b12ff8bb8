/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/limits.h"
#include "tests/unit/bus-fixture.h"

/* What one user can have written into the journal, and how many users. */

#define USER 1000u
#define USERS_MAX 1024u /* that are counted each for itself */

static struct broker broker = {.log = {.level = LOG_INFO, .target = LOG_TARGET_CONSOLE}};
static char said[131072];
static const struct audit_refusal refusal = {
    .caller = ":1.1", .action = "Attach", .session = "s1", .pid = 1};

/* All that was counted, which the end of the audit writes. */
static void end_audit(void)
{
    int kept = dup(STDERR_FILENO), fd = open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    ssize_t n;

    assert_true(kept >= 0 && fd >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    audit_users_done(&broker.audit);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    n = pread(fd, said, sizeof(said) - 1, 0);
    assert_true(n >= 0);
    said[n] = '\0';
    close(fd);
    close(kept);
}

static int setup(void **state)
{
    audit_users_init(&broker.audit);
    return sd_event_new(&broker.event);
}

static int teardown(void **state)
{
    end_audit();
    broker.event = sd_event_unref(broker.event);
    return 0;
}

static void refusals_are_counted_for_each_user(void **state)
{
    assert_true(audit_user_refused(&broker, USER, &refusal));
    assert_true(audit_user_refused(&broker, USER + 1, &refusal));
    for (int i = 0; i < 7; i++)
        assert_false(audit_user_refused(&broker, USER, &refusal));
    assert_int_equal(broker.audit.n, 2);
    end_audit();
    assert_non_null(strstr(said, "User 1000 was refused 7 more times"));
    assert_null(strstr(said, "User 1001"));
    assert_int_equal(broker.audit.n, 0);
}

static void users_beyond_the_first_are_counted_together(void **state)
{
    for (uid_t i = 0; i < USERS_MAX; i++)
        assert_true(audit_user_refused(&broker, USER + i, &refusal));
    for (uid_t i = USERS_MAX; i < 2 * USERS_MAX; i++)
        assert_false(audit_user_refused(&broker, USER + i, &refusal));
    assert_int_equal(broker.audit.n, USERS_MAX + 1);
    assert_false(audit_user_refused(&broker, USER, &refusal));
    end_audit();
    assert_non_null(strstr(said, "Other users were refused 1024 times"));
    assert_non_null(strstr(said, "User 1000 was refused 1 more times"));
}

static void attaches_of_one_user_are_bounded_and_not_those_of_another(void **state)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    unsigned n = 0;

    while (audit_user_attach(&broker, USER, &error) == 0)
        n++;
    assert_int_equal(n, limit_value(LIMIT_ATTACHES));
    assert_string_equal(error.name, PTRACED_ERROR_LIMIT_EXCEEDED);
    assert_non_null(strstr(error.message, "AttachesPerMinuteMax"));
    assert_return_code(audit_user_attach(&broker, USER + 1, NULL), 0);
    n = 0;
    while (audit_user_session(&broker, USER, NULL) == 0)
        n++;
    assert_int_equal(n, limit_value(LIMIT_NEW_SESSIONS));
    end_audit();
    assert_string_equal(said, "");
}

static void children_are_told_of_and_then_counted(void **state)
{
    unsigned n = 0;

    while (audit_user_followed(&broker, USER))
        n++;
    assert_int_equal(n, 600);
    audit_user_released(&broker, USER);
    audit_user_released(&broker, USER);
    end_audit();
    assert_non_null(strstr(said, "User 1000 followed 1 more children and released 2"));
}

static void permissions_are_told_of_and_then_counted(void **state)
{
    unsigned n = 0;

    while (audit_user_permitted(&broker, USER))
        n++;
    assert_int_equal(n, 600);
    assert_true(audit_user_permitted(&broker, USER + 1));
    end_audit();
    assert_non_null(strstr(said, "User 1000 was permitted something 1 more times"));
    assert_null(strstr(said, "User 1001"));
}

static void lists_are_counted_each_for_itself(void **state)
{
    const struct audit_refusal list = {
        .caller = ":1.2", .action = PTRACED_ACTION_LIST, .session = ""};

    assert_true(audit_user_listed(&broker, USER, PTRACED_ACTION_LIST));
    assert_true(audit_user_listed(&broker, USER, PTRACED_ACTION_LIST_OTHER));
    assert_false(audit_user_listed(&broker, USER, PTRACED_ACTION_LIST));
    assert_false(audit_user_list_refused(&broker, USER, &list));
    assert_false(audit_user_listed(&broker, USER, PTRACED_ACTION_LIST_OTHER));
    assert_true(audit_user_permitted(&broker, USER));
    assert_true(audit_user_call_refused(&broker, USER, &refusal));
    assert_true(audit_user_refused(&broker, USER, &refusal));
    end_audit();
    assert_non_null(strstr(said, "User 1000 was permitted something 2 more times"));
    assert_non_null(strstr(said, "User 1000 was refused 1 more times, the last (:1.2) "
                                 "org.ptraced.Tracer1.list\n"));
}

static void last_of_the_counted_is_told(void **state)
{
    char program[] = "/usr/bin/one";
    struct audit_refusal what = {
        .caller = ":1.7", .action = "Kill", .session = "s1", .pid = 12, .executable = program};

    assert_true(audit_user_call_refused(&broker, USER, &what));
    assert_false(audit_user_call_refused(&broker, USER, &refusal));
    assert_false(audit_user_call_refused(&broker, USER, &what));
    memset(program, 'x', strlen(program));
    what = (struct audit_refusal){.caller = ":1.8", .action = "Close", .session = "s2"};
    assert_false(audit_user_refused(&broker, (uid_t)-1, &what));
    end_audit();
    assert_non_null(strstr(said, "User 1000 was refused 2 more times, the last (:1.7) Kill of "
                                 "process 12 (/usr/bin/one)\n"));
    assert_non_null(
        strstr(said, "Other users were refused 1 times, the last (:1.8) Close of session s2\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refusals_are_counted_for_each_user, setup, teardown),
        cmocka_unit_test_setup_teardown(users_beyond_the_first_are_counted_together, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(attaches_of_one_user_are_bounded_and_not_those_of_another,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(children_are_told_of_and_then_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(permissions_are_told_of_and_then_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_are_counted_each_for_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(last_of_the_counted_is_told, setup, teardown),
    };

    return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
