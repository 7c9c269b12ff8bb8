/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>

#include "daemon/broker/allowance.h"
#include "daemon/broker/limits.h"
#include "tests/unit/bus-fixture.h"

/* Of the raised class a user has half a second, a tenth at a time, and a fiftieth of the time that
 * passes comes back; of holding what is not his own five seconds, a quarter of one, a quarter. */
#define MSEC UINT64_C(1000)
#define SECOND (1000 * MSEC)
#define NOW (3600 * SECOND)

enum { ALICE = 1000, BOB = 1001, FIRST_OF_MANY = 2000 };

static struct allowances allowances;

static int forget(void **state)
{
    allowances = (struct allowances){0};
    (void)limit_set("RaisedMSecMax", 500);
    (void)limit_set("ObserveMSecMax", 5000);
    return 0;
}

static uint64_t raised(uid_t uid, uint64_t now)
{
    return allowance_take(&allowances, uid, ALLOWANCE_RAISED, now);
}

static uint64_t observe(uid_t uid, uint64_t now)
{
    return allowance_take(&allowances, uid, ALLOWANCE_OBSERVE, now);
}

static void use_up_raised(uid_t uid, uint64_t now)
{
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(raised(uid, now), 100 * MSEC);
    assert_int_equal(raised(uid, now), 0);
}

static void what_is_taken_is_gone(void **state)
{
    use_up_raised(ALICE, NOW);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(observe(ALICE, NOW), 250 * MSEC);
    assert_int_equal(observe(ALICE, NOW), 0);
}

static void one_kind_is_no_other(void **state)
{
    use_up_raised(ALICE, NOW);
    assert_int_equal(observe(ALICE, NOW), 250 * MSEC);
    assert_int_equal(raised(ALICE, NOW), 0);
}

static void one_user_is_no_other(void **state)
{
    use_up_raised(ALICE, NOW);
    use_up_raised(BOB, NOW);
    use_up_raised(0, NOW);
}

static void a_share_of_the_time_comes_back(void **state)
{
    use_up_raised(ALICE, NOW);
    assert_int_equal(raised(ALICE, NOW + SECOND), 20 * MSEC);
    assert_int_equal(raised(ALICE, NOW + SECOND), 0);
    /* In steps as in one go. */
    assert_int_equal(raised(ALICE, NOW + 2 * SECOND), 20 * MSEC);
    assert_int_equal(raised(ALICE, NOW + 12 * SECOND), 100 * MSEC);
    assert_int_equal(raised(ALICE, NOW + 12 * SECOND), 100 * MSEC);
    assert_int_equal(raised(ALICE, NOW + 12 * SECOND), 0);
}

static void what_comes_back_of_one_kind_is_kept_while_the_other_is_taken(void **state)
{
    use_up_raised(ALICE, NOW);
    assert_int_equal(observe(ALICE, NOW + SECOND), 250 * MSEC);
    assert_int_equal(raised(ALICE, NOW + SECOND), 20 * MSEC);
}

static void no_more_comes_back_than_there_was(void **state)
{
    use_up_raised(ALICE, NOW);
    use_up_raised(ALICE, NOW + 100 * 3600 * SECOND);
}

static void limits_are_those_of_the_configuration(void **state)
{
    assert_int_equal(limit_set("RaisedMSecMax", 130), 0);
    assert_int_equal(raised(ALICE, NOW), 100 * MSEC);
    assert_int_equal(raised(ALICE, NOW), 30 * MSEC);
    assert_int_equal(raised(ALICE, NOW), 0);
    assert_int_equal(limit_set("ObserveMSecMax", 1), 0);
    assert_int_equal(observe(ALICE, NOW), MSEC);
    assert_int_equal(observe(ALICE, NOW), 0);
    assert_int_equal(observe(BOB, NOW), MSEC);
}

/* Whom there is no room for has no time of his own, and takes none of anybody else's. */
static void users_beyond_the_room_share(void **state)
{
    for (uid_t i = 0; i < ALLOWANCE_USERS - 1; i++)
        use_up_raised(FIRST_OF_MANY + i, NOW);
    assert_int_equal(raised(ALICE, NOW), 100 * MSEC);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(raised(BOB, NOW), 100 * MSEC);
    assert_int_equal(raised(ALICE, NOW), 0);
    assert_int_equal(raised(BOB, NOW), 0);
    assert_int_equal(raised(FIRST_OF_MANY, NOW), 0);
}

static void who_has_all_of_it_need_not_be_known(void **state)
{
    for (uid_t i = 0; i < ALLOWANCE_USERS - 1; i++)
        use_up_raised(FIRST_OF_MANY + i, NOW);
    use_up_raised(ALICE, NOW + 25 * SECOND); /* when all of them have all of it back */
    use_up_raised(BOB, NOW + 25 * SECOND);
    assert_int_equal(raised(ALICE, NOW + 25 * SECOND), 0);
    use_up_raised(FIRST_OF_MANY, NOW + 25 * SECOND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, forget)
    const struct CMUnitTest tests[] = {
        TEST(what_is_taken_is_gone),
        TEST(one_kind_is_no_other),
        TEST(one_user_is_no_other),
        TEST(a_share_of_the_time_comes_back),
        TEST(what_comes_back_of_one_kind_is_kept_while_the_other_is_taken),
        TEST(no_more_comes_back_than_there_was),
        TEST(limits_are_those_of_the_configuration),
        TEST(users_beyond_the_room_share),
        TEST(who_has_all_of_it_need_not_be_known),
    };
#undef TEST

    return cmocka_run_group_tests_name("broker-allowance", tests, NULL, NULL);
}
