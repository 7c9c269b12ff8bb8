/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bus-api/macro.h"
#include "daemon/broker/index.h"
#include "daemon/broker/list.h"

struct item {
    struct list node;
    int number;
};

static void test_empty_index(void **state)
{
    struct index ix = {0};

    assert_null(index_find(&ix, 1));
    assert_int_equal(index_lower_bound(&ix, 1), 0);
    assert_false(index_has(&ix, 0, 1));
    index_remove(&ix, 1, NULL);
    index_done(&ix);
}

static void test_values_of_one_key_keep_their_order(void **state)
{
    int values[4];
    struct index ix = {0};
    size_t n = 0;

    assert_int_equal(index_add(&ix, 7, &values[0]), 0);
    assert_int_equal(index_add(&ix, 3, &values[1]), 0);
    assert_int_equal(index_add(&ix, 7, &values[2]), 0);
    assert_int_equal(index_add(&ix, 9, &values[3]), 0);

    assert_ptr_equal(index_find(&ix, 7), &values[0]);
    for (size_t i = index_lower_bound(&ix, 7); index_has(&ix, i, 7); i++)
        assert_ptr_equal(ix.items[i].value, &values[n++ * 2]);
    assert_int_equal(n, 2);

    index_remove(&ix, 7, &values[0]);
    assert_ptr_equal(index_find(&ix, 7), &values[2]);
    index_remove(&ix, 7, &values[0]); /* is not there any more */
    index_remove(&ix, 7, &values[2]);
    assert_null(index_find(&ix, 7));
    assert_int_equal(ix.n, 2);
    index_done(&ix);
}

static void test_many_in_any_order(void **state)
{
    enum { N = 1009 };
    static int values[N];
    struct index ix = {0};

    /* N is a prime, so that every number comes once. */
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(index_add(&ix, i * 389 % N, &values[i * 389 % N]), 0);
    assert_int_equal(ix.n, N);
    for (uint64_t i = 0; i < N; i++)
        assert_ptr_equal(index_find(&ix, i), &values[i]);
    for (uint64_t i = 0; i < N; i += 2)
        index_remove(&ix, i, &values[i]);
    for (uint64_t i = 0; i < N; i++)
        assert_ptr_equal(index_find(&ix, i), i % 2 ? &values[i] : NULL);
    index_done(&ix);
}

static void test_list_keeps_its_order(void **state)
{
    struct item items[] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    struct list head;
    int expected = 0;

    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(LIST_FIRST(&head, struct item, node));
    list_append(&head, &items[1].node);
    list_append(&head, &items[2].node);
    list_prepend(&head, &items[0].node);
    list_append(&head, &items[3].node);
    assert_ptr_equal(LIST_FIRST(&head, struct item, node), &items[0]);
    LIST_FOREACH(struct item, item, &head, node)
        assert_int_equal(item->number, expected++);
    assert_int_equal(expected, 4);
}

static void test_list_item_goes_while_it_is_gone_through(void **state)
{
    struct list head;
    int seen = 0;

    list_init(&head);
    for (int i = 0; i < 10; i++) {
        struct item *item = calloc(1, sizeof(*item));

        assert_non_null(item);
        item->number = i;
        list_append(&head, &item->node);
    }
    LIST_FOREACH(struct item, item, &head, node) {
        assert_int_equal(item->number, seen++);
        if (item->number == 7)
            break;
        list_remove(&item->node);
        list_remove(&item->node); /* nothing happens */
        free(item);
    }
    assert_int_equal(seen, 8);
    LIST_FOREACH(struct item, item, &head, node) {
        list_remove(&item->node);
        free(item);
    }
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_index),
        cmocka_unit_test(test_values_of_one_key_keep_their_order),
        cmocka_unit_test(test_many_in_any_order),
        cmocka_unit_test(test_list_keeps_its_order),
        cmocka_unit_test(test_list_item_goes_while_it_is_gone_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
