/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "daemon/trace/block-step.h"

static void it_is_one_of_three_and_stays(void **state)
{
    enum block_step first = BLOCK_STEP_UNKNOWN, again = BLOCK_STEP_UNKNOWN;

    assert_int_equal(block_step_probe(&first), 0);
    assert_int_not_equal(first, BLOCK_STEP_UNKNOWN);
#if defined(__x86_64__)
    assert_int_not_equal(first, BLOCK_STEP_NONE);
#endif
    for (int i = 0; i < 20; i++) {
        assert_int_equal(block_step_probe(&again), 0);
        assert_int_equal(again, first);
    }
}

static void nothing_is_left_to_be_waited_for(void **state)
{
    enum block_step b;
    siginfo_t report;

    assert_int_equal(block_step_probe(&b), 0);
    assert_int_equal(waitid(P_ALL, 0, &report, WEXITED | WSTOPPED | __WALL | WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_one_of_three_and_stays),
        cmocka_unit_test(nothing_is_left_to_be_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
