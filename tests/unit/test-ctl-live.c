/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/ctl/live.h"

static void test_one(void **state)
{
    struct live l = {0};

    assert_false(live_any(&l));
    assert_int_equal(live_add(&l, 10), 0);
    assert_true(live_any(&l));
    assert_true(live_has(&l, 10));
    assert_false(live_has(&l, 11));
    assert_int_equal(live_remove(&l, 10), 0);
    assert_false(live_any(&l));
    assert_false(live_has(&l, 10));
    live_clear(&l);
}

/* A child ends before its parent's fork event is read: it must not be waited for. */
static void test_death_before_birth(void **state)
{
    struct live l = {0};

    assert_int_equal(live_add(&l, 10), 0);
    assert_int_equal(live_remove(&l, 11), 0);
    assert_false(live_has(&l, 11));
    assert_int_equal(live_add(&l, 11), 0);
    assert_false(live_has(&l, 11));
    assert_int_equal(live_remove(&l, 10), 0);
    assert_false(live_any(&l));
    live_clear(&l);
}

/* The pid is used again, and the second birth is told before the first death. */
static void test_pid_reuse(void **state)
{
    struct live l = {0};

    assert_int_equal(live_add(&l, 10), 0);
    assert_int_equal(live_add(&l, 10), 0);
    assert_int_equal(live_remove(&l, 10), 0);
    assert_true(live_has(&l, 10));
    assert_int_equal(live_remove(&l, 10), 0);
    assert_false(live_any(&l));
    live_clear(&l);
}

static void test_many(void **state)
{
    struct live l = {0};

    for (pid_t pid = 1; pid <= 1000; pid++)
        assert_int_equal(live_add(&l, pid), 0);
    for (pid_t pid = 1; pid < 1000; pid++)
        assert_int_equal(live_remove(&l, pid), 0);
    assert_true(live_any(&l));
    assert_true(live_has(&l, 1000));
    assert_int_equal(l.n, 1); /* what has ended takes no room */
    assert_int_equal(live_remove(&l, 1000), 0);
    assert_false(live_any(&l));
    live_clear(&l);
    assert_false(live_any(&l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_death_before_birth),
        cmocka_unit_test(test_pid_reuse),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
