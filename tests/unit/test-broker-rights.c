/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/rights.h"
#include "tests/unit/bus-fixture.h"

static const gid_t groups[] = {27, 1000};

static const struct subject me = {
    .uid = 1000, .groups = groups, .n_groups = ELEMENTSOF(groups), .user_namespace = 7};

static const struct target mine = {
    .pid = 4711,
    .uids = {1000, 1000, 1000},
    .gids = {1000, 27, 1000},
    .user_namespace = 7,
    .dumpable = true,
};

static void what_has_my_credentials_and_no_more_is_mine(void **state)
{
    struct target t = mine;

    assert_true(rights_is_own(&me, &mine));
    for (unsigned i = 0; i < 3; i++) {
        t = mine;
        t.uids[i] = 0;
        assert_false(rights_is_own(&me, &t));
        t = mine;
        t.gids[i] = 4;
        assert_false(rights_is_own(&me, &t));
    }
    t = mine;
    t.permitted = 1;
    assert_false(rights_is_own(&me, &t));
    t = mine;
    t.dumpable = false;
    assert_false(rights_is_own(&me, &t));
    t = mine;
    t.user_namespace = 8;
    assert_false(rights_is_own(&me, &t));
}

static void of_whom_nothing_is_known_nothing_is_his(void **state)
{
    struct subject s = me;
    struct target t = mine;

    s.n_groups = 0;
    assert_false(rights_is_own(&s, &mine));
    s = me;
    s.user_namespace = t.user_namespace = 0;
    assert_false(rights_is_own(&s, &t));
}

static void yama_makes_it_an_administrators(void **state)
{
    assert_string_equal(rights_action(true, false, 0), PTRACED_ACTION_CONTROL);
    assert_string_equal(rights_action(true, false, 1), PTRACED_ACTION_CONTROL);
    assert_string_equal(rights_action(true, false, 2), PTRACED_ACTION_CONTROL_OTHER);
    assert_string_equal(rights_action(false, false, 0), PTRACED_ACTION_CONTROL_OTHER);
    assert_string_equal(rights_action(true, true, 1), PTRACED_ACTION_OBSERVE);
    assert_string_equal(rights_action(true, true, 2), PTRACED_ACTION_OBSERVE_OTHER);
    assert_string_equal(rights_action(false, true, 0), PTRACED_ACTION_OBSERVE_OTHER);
}

static void yama_forbids_all(void **state)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    struct target t = mine;

    assert_return_code(rights_check_machine(&t, &error), 0);
    t.yama_scope = 3;
    assert_true(rights_check_machine(&t, &error) < 0);
    assert_true(sd_bus_error_has_name(&error, PTRACED_ERROR_NOT_SUPPORTED));
    assert_non_null(strstr(error.message, "kernel.yama.ptrace_scope"));
}

static int register_errors(void **state)
{
    ptraced_errors_register();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_my_credentials_and_no_more_is_mine),
        cmocka_unit_test(of_whom_nothing_is_known_nothing_is_his),
        cmocka_unit_test(yama_makes_it_an_administrators),
        cmocka_unit_test(yama_forbids_all),
    };

    return cmocka_run_group_tests_name("broker-rights", tests, register_errors, NULL);
}
