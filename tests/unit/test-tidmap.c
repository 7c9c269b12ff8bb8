/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/trace/tidmap.h"
#include "daemon/trace/tracee.h"
#include "tests/unit/random.h"

/* The model is an array by thread id: a tid is in the map where it is marked. */
enum { TIDS = 65536 };

struct model {
    struct tidmap map;
    struct tracee tracees[TIDS];
    bool present[TIDS];
    size_t n;
};

static int model_new(void **state)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    for (pid_t tid = 0; tid < TIDS; tid++)
        m->tracees[tid].tid = tid;
    *state = m;
    return 0;
}

static int model_free(void **state)
{
    struct model *m = *state;

    tidmap_done(&m->map);
    free(m);
    return 0;
}

static void insert(struct model *m, pid_t tid)
{
    if (m->present[tid])
        return;
    assert_return_code(tidmap_insert(&m->map, &m->tracees[tid]), 0);
    m->present[tid] = true;
    m->n++;
}

static void take_out(struct model *m, pid_t tid)
{
    tidmap_remove(&m->map, tid); /* where it is not in, this does nothing */
    m->n -= m->present[tid];
    m->present[tid] = false;
}

static void assert_found(const struct model *m, pid_t tid)
{
    assert_ptr_equal(tidmap_get(&m->map, tid), m->present[tid] ? &m->tracees[tid] : NULL);
}

static void assert_agrees(const struct model *m)
{
    assert_int_equal(m->map.n, m->n);
    for (pid_t tid = 0; tid < TIDS; tid++)
        assert_found(m, tid);
}

static void empty_map_allocates_and_finds_nothing(void **state)
{
    struct tidmap m = {0};

    assert_null(tidmap_get(&m, 1));
    tidmap_remove(&m, 1);
    assert_null(m.slots);
    tidmap_done(&m);
}

static void map_that_was_ended_can_be_used_again(void **state)
{
    struct tracee t = {.tid = 7};
    struct tidmap m = {0};

    assert_return_code(tidmap_insert(&m, &t), 0);
    tidmap_done(&m);
    assert_null(tidmap_get(&m, 7));
    assert_return_code(tidmap_insert(&m, &t), 0);
    assert_ptr_equal(tidmap_get(&m, 7), &t);
    tidmap_done(&m);
}

static void consecutive_ids_are_found_while_the_map_grows(void **state)
{
    struct model *m = *state;

    for (pid_t tid = 1000; tid < 11000; tid++) {
        insert(m, tid);
        assert_found(m, tid);
        assert_found(m, 1000);
        assert_found(m, tid + 1);
    }
    assert_agrees(m);
    for (pid_t tid = 1000; tid < 11000; tid += 2)
        take_out(m, tid);
    assert_agrees(m);
}

static void some_slots_are_always_free(void **state)
{
    struct model *m = *state;

    /* A search for what is not there ends at a free slot. */
    for (pid_t tid = 1; tid < 5000; tid++) {
        insert(m, tid);
        assert_true(m->map.n * 3 <= (m->map.mask + 1) * 2);
    }
}

static void random_ids_agree_with_the_model(void **state)
{
    struct random r = {.x = 4711};
    struct model *m = *state;

    for (unsigned i = 0; i < 300000; i++) {
        pid_t tid = (pid_t)random_below(&r, TIDS);

        /* Sweeps from few to many and back. */
        if (random_below(&r, 100) < (i / 50000 % 2 ? 30u : 70u))
            insert(m, tid);
        else
            take_out(m, tid);
        assert_found(m, tid);
        assert_found(m, (pid_t)random_below(&r, TIDS));
        if (i % 30000 == 0)
            assert_agrees(m);
    }
    assert_agrees(m);
}

/* Few ids in a small table: chains of collisions that wrap around its end all the time. */
static void clustered_ids_agree_with_the_model(void **state)
{
    struct random r = {.x = 815};
    struct model *m = *state;

    for (unsigned i = 0; i < 100000; i++) {
        /* Eight clusters of six, as programs with some threads each have them. */
        pid_t tid = (pid_t)(30000 + random_below(&r, 8) * 512 + random_below(&r, 6));

        if (m->n < 20 && random_below(&r, 2))
            insert(m, tid);
        else
            take_out(m, tid);
        for (unsigned cluster = 0; cluster < 8; cluster++)
            for (unsigned at = 0; at < 6; at++)
                assert_found(m, (pid_t)(30000 + cluster * 512 + at));
        assert_int_equal(m->map.n, m->n);
    }
    assert_int_equal(m->map.mask, 31); /* it has not grown: the table was small all the time */
}

/* The worst case: all have the same home, so that they form one chain. */
static void ids_that_collide_agree_with_the_model(void **state)
{
    struct random r = {.x = 99};
    struct model *m = *state;
    pid_t tids[16];
    unsigned n = 0;

    for (pid_t tid = 1; tid < TIDS && n < 16; tid++) {
        uint32_t home = ((uint32_t)tid * UINT32_C(2654435769) >> 7) & 31;

        if (home == 30) /* two slots before the table's end */
            tids[n++] = tid;
    }
    assert_int_equal(n, 16);
    for (unsigned i = 0; i < 20000; i++) {
        pid_t tid = tids[random_below(&r, 16)];

        if (random_below(&r, 2))
            insert(m, tid);
        else
            take_out(m, tid);
        for (unsigned k = 0; k < 16; k++)
            assert_found(m, tids[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_map_allocates_and_finds_nothing),
        cmocka_unit_test(map_that_was_ended_can_be_used_again),
#define TEST(name) cmocka_unit_test_setup_teardown(name, model_new, model_free)
        TEST(consecutive_ids_are_found_while_the_map_grows),
        TEST(some_slots_are_always_free),
        TEST(random_ids_agree_with_the_model),
        TEST(clustered_ids_agree_with_the_model),
        TEST(ids_that_collide_agree_with_the_model),
#undef TEST
    };

    return cmocka_run_group_tests_name("tidmap", tests, NULL, NULL);
}
