/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bus-api/macro.h"
#include "daemon/broker/stash.h"

static void add(struct stash *stash, uint64_t serial, pid_t pid, pid_t tid, const char *kind)
{
    struct ptraced_event_record e = {.serial = serial, .pid = pid, .tid = tid};

    strcpy(e.kind, kind);
    assert_int_equal(ptraced_event_add_s(&e, "reason", "test"), 0);
    assert_int_equal(stash_add(stash, &e, STASH_NO_MAX), 0);
    assert_int_equal(e.n_details, 0); /* what it owned has been taken */
}

/* The serial of what is taken, or 0. */
static uint64_t take(struct stash *stash, pid_t pid, pid_t tid)
{
    struct ptraced_event_record e;
    uint64_t serial;

    if (!stash_take(stash, pid, tid, &e))
        return 0;
    serial = e.serial;
    assert_string_equal(ptraced_event_detail(&e, "reason")->s, "test");
    ptraced_event_done(&e);
    return serial;
}

static void test_oldest_first(void **state)
{
    struct stash stash;

    stash_init(&stash);
    assert_int_equal(take(&stash, 0, 0), 0);
    add(&stash, 1, 10, 10, "signal");
    add(&stash, 2, 20, 20, "signal");
    add(&stash, 3, 10, 10, "signal");
    assert_int_equal(take(&stash, 0, 0), 1);
    assert_int_equal(take(&stash, 0, 0), 2);
    assert_int_equal(take(&stash, 0, 0), 3);
    assert_int_equal(take(&stash, 0, 0), 0);
}

static void test_of_one_thread_alone(void **state)
{
    struct stash stash;

    stash_init(&stash);
    add(&stash, 1, 10, 10, "signal");
    add(&stash, 2, 10, 11, "signal");
    add(&stash, 3, 20, 11, "signal");
    assert_int_equal(take(&stash, 10, 12), 0);
    assert_int_equal(take(&stash, 20, 11), 3);
    assert_int_equal(take(&stash, 10, 11), 2);
    assert_int_equal(take(&stash, 10, 11), 0);
    assert_int_equal(take(&stash, 10, 0), 1);
}

static void test_given_up_processes_keep_that_they_were_lost(void **state)
{
    struct stash stash;

    stash_init(&stash);
    add(&stash, 1, 10, 10, "signal");
    add(&stash, 2, 20, 20, "signal");
    add(&stash, 3, 10, 10, "lost");
    stash_forget(&stash, 10);
    assert_int_equal(take(&stash, 0, 0), 2);
    assert_int_equal(take(&stash, 0, 0), 3);

    add(&stash, 4, 10, 10, "signal");
    add(&stash, 5, 20, 20, "lost");
    stash_forget(&stash, 0);
    assert_int_equal(take(&stash, 0, 0), 5);
    add(&stash, 6, 10, 10, "signal");
    stash_done(&stash);
    assert_true(list_empty(&stash.events));
    assert_int_equal(stash.n, 0);
}

/* What nobody takes does not grow without end, and makes room when it is taken. */
static void test_no_more_than_the_maximum(void **state)
{
    struct ptraced_event_record e = {.serial = 3, .pid = 10, .tid = 10};
    struct stash stash;

    stash_init(&stash);
    add(&stash, 1, 10, 10, "lost");
    add(&stash, 2, 10, 10, "lost");
    assert_int_equal(ptraced_event_add_s(&e, "reason", "test"), 0);
    assert_int_equal(stash_add(&stash, &e, 2), -ENOBUFS);
    assert_int_equal(e.n_details, 0); /* taken all the same */
    add(&stash, 4, 10, 10, "signal");
    assert_int_equal(take(&stash, 0, 0), 1);
    assert_int_equal(take(&stash, 0, 0), 2);

    assert_int_equal(ptraced_event_add_s(&e, "reason", "test"), 0);
    assert_int_equal(stash_add(&stash, &e, 2), 0);
    assert_int_equal(take(&stash, 0, 0), 4);
    assert_int_equal(take(&stash, 0, 0), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oldest_first),
        cmocka_unit_test(test_of_one_thread_alone),
        cmocka_unit_test(test_given_up_processes_keep_that_they_were_lost),
        cmocka_unit_test(test_no_more_than_the_maximum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
