/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/trace/hardware-x86.h"
#include "daemon/trace/macro.h"

/* Slots, and how x86 writes them down. Nothing is traced. */

#define USER_END UINT64_C(0x7ffffffff000)

static void a_control_word_is_made_of_its_slots(void **state)
{
    static const struct {
        unsigned slot;
        enum hardware_kind kind;
        uint8_t size;
        uint32_t control;
    } cases[] = {
        {0, HARDWARE_EXECUTE, 1, 0x00000001},    {0, HARDWARE_WRITE, 1, 0x00010001},
        {0, HARDWARE_WRITE, 2, 0x00050001},      {0, HARDWARE_WRITE, 4, 0x000d0001},
        {0, HARDWARE_WRITE, 8, 0x00090001},      {0, HARDWARE_READ_WRITE, 1, 0x00030001},
        {1, HARDWARE_READ_WRITE, 8, 0x00b00004}, {2, HARDWARE_WRITE, 4, 0x0d000010},
        {3, HARDWARE_READ_WRITE, 4, 0xf0000040}, {3, HARDWARE_EXECUTE, 1, 0x00000040},
    };
    struct hardware all = {0};
    uint64_t together = 0;

    assert_int_equal(hardware_x86_control(&all, 1), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct hardware h = {0};

        h.slots[cases[i].slot] =
            (struct hardware_slot){true, 0x1000, cases[i].size, (uint8_t)cases[i].kind, 0, 1};
        assert_int_equal(hardware_x86_control(&h, 1), cases[i].control);
    }
    for (size_t i = 5; i < 9; i++) {
        all.slots[cases[i].slot] =
            (struct hardware_slot){true, 0x1000, cases[i].size, (uint8_t)cases[i].kind, 0, 1};
        together |= cases[i].control;
    }
    assert_int_equal(hardware_x86_control(&all, 1), together);
}

static void a_slot_of_one_thread_is_not_in_another_ones_control_word(void **state)
{
    struct hardware h = {0};

    h.slots[1] = (struct hardware_slot){true, 0x1000, 1, HARDWARE_EXECUTE, 7, 1};
    assert_int_equal(hardware_x86_control(&h, 7), 4);
    assert_int_equal(hardware_x86_control(&h, 8), 0);
}

static void a_status_word_tells_slots_and_step(void **state)
{
    static const struct {
        uint64_t status;
        uint32_t mask;
        bool step;
    } cases[] = {
        {HARDWARE_X86_STATUS_NONE, 0, false},
        {0, 0, false},
        {0xffff0ff1, 1, false},
        {0xffff0ffa, 10, false},
        {0xffff4ff0, 0, true},
        {0xffff4ff4, 4, true},
        {0xf, 15, false},
        {0x8000, 0, false},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint32_t mask;
        bool step;

        hardware_x86_decode_status(cases[i].status, &mask, &step);
        assert_int_equal(mask, cases[i].mask);
        assert_int_equal(step, cases[i].step);
    }
}

static void what_x86_cannot_watch_is_refused(void **state)
{
    static const struct {
        uint64_t address;
        unsigned size;
        enum hardware_kind kind;
        int result;
    } cases[] = {
        {0x1001, 1, HARDWARE_EXECUTE, 0},
        {0x1000, 2, HARDWARE_EXECUTE, -EINVAL},
        {0x1000, 0, HARDWARE_EXECUTE, -EINVAL},
        {0x1000, 0, HARDWARE_WRITE, -EINVAL},
        {0x1000, 3, HARDWARE_WRITE, -EINVAL},
        {0x1000, 16, HARDWARE_READ_WRITE, -EINVAL},
        {0x1000, 257, HARDWARE_WRITE, -EINVAL},
        {0x1001, 2, HARDWARE_WRITE, -EINVAL},
        {0x1002, 4, HARDWARE_READ_WRITE, -EINVAL},
        {0x1004, 8, HARDWARE_WRITE, -EINVAL},
        {0x1008, 8, HARDWARE_WRITE, 0},
        {USER_END - 1, 1, HARDWARE_EXECUTE, 0},
        {USER_END - 8, 8, HARDWARE_WRITE, 0},
        {USER_END, 1, HARDWARE_EXECUTE, -EFAULT},
        {USER_END, 8, HARDWARE_WRITE, -EFAULT},
        {UINT64_C(0xffffffff81000000), 1, HARDWARE_EXECUTE, -EFAULT},
        {UINT64_MAX, 1, HARDWARE_WRITE, -EFAULT},
        {UINT64_MAX - 7, 8, HARDWARE_READ_WRITE, -EFAULT},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_int_equal(hardware_x86_check(cases[i].address, cases[i].size, cases[i].kind),
                         cases[i].result);
}

#ifdef __x86_64__
static void the_fifth_slot_is_one_too_many(void **state)
{
    struct hardware h = {0};

    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++)
        assert_int_equal(hardware_add(&h, 0x1000 + i, 1, HARDWARE_WRITE, 0), i);
    assert_int_equal(h.generation, 4);
    assert_int_equal(hardware_add(&h, 0x2000, 1, HARDWARE_WRITE, 0), -ENOSPC);
    assert_int_equal(h.generation, 4);
    assert_int_equal(hardware_add(&h, 0x1001, 1, HARDWARE_WRITE, 0), 1); /* an equal one still */
    hardware_remove(&h, 2);
    assert_int_equal(hardware_add(&h, 0x2000, 1, HARDWARE_WRITE, 0), 2);
}

static void equal_requests_share_a_slot(void **state)
{
    struct hardware h = {0};

    assert_int_equal(hardware_add(&h, 0x1000, 4, HARDWARE_WRITE, 0), 0);
    assert_int_equal(hardware_add(&h, 0x1000, 4, HARDWARE_WRITE, 0), 0);
    assert_int_equal(h.slots[0].references, 2);
    assert_int_equal(h.generation, 1);
    assert_int_equal(hardware_add(&h, 0x1000, 4, HARDWARE_READ_WRITE, 0), 1);
    assert_int_equal(hardware_add(&h, 0x1000, 4, HARDWARE_WRITE, 7), 2);
    assert_int_equal(hardware_add(&h, 0x1000, 2, HARDWARE_WRITE, 0), 3);
    hardware_remove(&h, 0);
    assert_true(h.slots[0].used);
    assert_int_equal(h.generation, 4);
    hardware_remove(&h, 0);
    assert_false(h.slots[0].used);
    assert_int_equal(h.generation, 5);
}

static void a_bad_request_changes_nothing(void **state)
{
    struct hardware h = {0};

    assert_int_equal(hardware_add(&h, 0x1001, 8, HARDWARE_WRITE, 0), -EINVAL);
    assert_int_equal(hardware_add(&h, USER_END, 8, HARDWARE_WRITE, 0), -EFAULT);
    assert_int_equal(h.generation, 0);
    assert_false(h.slots[0].used);
}

/* A generation of 0 would look like a thread that never had any. */
static void a_hit_without_a_reason_may_be_any_that_watches(void **state)
{
    struct hardware h = {0};

    assert_int_equal(hardware_guess_hits(&h, 7, 0x1000), 0);
    assert_int_equal(hardware_add(&h, 0x1000, 1, HARDWARE_EXECUTE, 0), 0);
    assert_int_equal(hardware_add(&h, 0x2000, 8, HARDWARE_WRITE, 0), 1);
    assert_int_equal(hardware_add(&h, 0x3000, 8, HARDWARE_READ_WRITE, 7), 2);
    assert_int_equal(hardware_guess_hits(&h, 7, 0x1000), 0);
    assert_int_equal(hardware_guess_hits(&h, 7, 0x1001), 2 | 4);
    assert_int_equal(hardware_guess_hits(&h, 8, 0x1001), 2);
}

static void generations_start_again_behind_zero(void **state)
{
    struct hardware h = {.generation = UINT32_MAX};

    assert_int_equal(hardware_add(&h, 0x1000, 1, HARDWARE_EXECUTE, 0), 0);
    assert_int_equal(h.generation, 1);
}
#else
static void a_machine_without_slots_says_so(void **state)
{
    struct hardware h = {0};
    uint32_t known = 0, mask;
    bool step;

    assert_int_equal(hardware_add(&h, 0x1000, 4, HARDWARE_WRITE, 0), -EOPNOTSUPP);
    assert_int_equal(hardware_sync(&h, 1, &known), 0);
    assert_int_equal(hardware_clear(1, &known), 0);
    assert_int_equal(hardware_read_hits(1, &mask, &step), -EOPNOTSUPP);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_control_word_is_made_of_its_slots),
        cmocka_unit_test(a_slot_of_one_thread_is_not_in_another_ones_control_word),
        cmocka_unit_test(a_status_word_tells_slots_and_step),
        cmocka_unit_test(what_x86_cannot_watch_is_refused),
#ifdef __x86_64__
        cmocka_unit_test(the_fifth_slot_is_one_too_many),
        cmocka_unit_test(equal_requests_share_a_slot),
        cmocka_unit_test(a_bad_request_changes_nothing),
        cmocka_unit_test(a_hit_without_a_reason_may_be_any_that_watches),
        cmocka_unit_test(generations_start_again_behind_zero),
#else
        cmocka_unit_test(a_machine_without_slots_says_so),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
