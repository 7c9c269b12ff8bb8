/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/trace/grant.h"

/* What is within a grant. */

static const struct credentials own = {
    .uids = {1000, 1000, 1000}, .gids = {100, 100, 100}, .user_namespace = 7, .dumpable = true};

static struct grant *grant_of(uid_t user, gid_t group, uint64_t user_namespace)
{
    const gid_t groups[] = {4, group};
    struct grant *g = grant_new(&user, 1, groups, 2);

    assert_non_null(g);
    g->user_namespace = user_namespace;
    return g;
}

static void everything_is_within_no_grant(void **state)
{
    const struct credentials root = {.permitted = UINT64_MAX};

    assert_true(grant_covers(NULL, &root));
}

static void each_credential_counts(void **state)
{
    struct grant *g = grant_of(1000, 100, 7);
    struct credentials c = own;

    assert_true(grant_covers(g, &c));
    for (unsigned i = 0; i < 3; i++) {
        c = own;
        c.uids[i] = 0;
        assert_false(grant_covers(g, &c));
        c = own;
        c.gids[i] = 0;
        assert_false(grant_covers(g, &c));
        c.gids[i] = 4; /* another group of its user's */
        assert_true(grant_covers(g, &c));
    }
    c = own;
    c.permitted = 1;
    assert_false(grant_covers(g, &c));
    g->permitted = 3;
    assert_true(grant_covers(g, &c));
    c = own;
    c.user_namespace = 8;
    assert_false(grant_covers(g, &c));
    c = own;
    c.dumpable = false;
    assert_false(grant_covers(g, &c));
    g->undumpable = true;
    assert_true(grant_covers(g, &c));
    grant_unref(g);
}

static void what_is_unknown_or_not_named_is_not_granted(void **state)
{
    struct grant *nothing = grant_new(NULL, 0, NULL, 0), *g = grant_of(1000, 100, 0);
    const uid_t users[GRANT_USERS_MAX + 1] = {0};
    struct credentials c = own;

    assert_false(grant_covers(nothing, &c));
    c.user_namespace = 0;
    assert_false(grant_covers(g, &c));
    assert_null(grant_new(users, GRANT_USERS_MAX + 1, NULL, 0));
    grant_unref(nothing);
    grant_unref(g);
}

static void same_is_what_is_for_the_same(void **state)
{
    struct grant *g = grant_of(1000, 100, 7), *other = grant_of(1000, 100, 7);

    assert_true(grant_is_same(NULL, NULL));
    assert_false(grant_is_same(g, NULL));
    assert_false(grant_is_same(NULL, g));
    assert_true(grant_is_same(g, other));
    other->permitted = 1;
    assert_false(grant_is_same(g, other));
    other->permitted = 0;
    other->undumpable = true;
    assert_false(grant_is_same(g, other));
    other->undumpable = false;
    assert_int_equal(grant_set_program(other, "/a", 2), 0);
    assert_false(grant_is_same(g, other));
    assert_int_equal(grant_set_program(g, "/b", 2), 0);
    assert_false(grant_is_same(g, other));
    assert_int_equal(grant_set_program(g, "/a", 2), 0);
    assert_true(grant_is_same(g, other));
    grant_unref(other);
    other = grant_of(1000, 101, 7);
    assert_int_equal(grant_set_program(other, "/a", 2), 0);
    assert_false(grant_is_same(g, other));
    grant_unref(other);
    grant_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_within_no_grant),
        cmocka_unit_test(each_credential_counts),
        cmocka_unit_test(what_is_unknown_or_not_named_is_not_granted),
        cmocka_unit_test(same_is_what_is_for_the_same),
    };

    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
