/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <sys/ptrace.h>

#include "daemon/trace/ptrace-ops.h"
#include "tests/unit/hardware-fixture.h"

/* What debug registers of a real thread report, and when. No root. */

static void each_kind_and_size_hits_its_bytes_and_not_their_neighbours(void **state)
{
    static const enum hardware_kind kinds[] = {HARDWARE_WRITE, HARDWARE_READ_WRITE};
    struct scene *s = scene_start(state);

    for (unsigned k = 0; k < 2; k++)
        for (unsigned size = 1; size <= 8; size *= 2) {
            int slot = scene_add(s, buffer + 8, size, kinds[k]);
            uint32_t mask = UINT32_C(1) << slot;

            scene_sync(s);
            for (unsigned offset = 7; offset <= 8 + size; offset++) {
                bool inside = offset >= 8 && offset < 8 + size;

                scene_expect(s, WRITE, offset, inside ? mask : 0);
                scene_expect(s, READ, offset, inside && kinds[k] == HARDWARE_READ_WRITE ? mask : 0);
            }
            hardware_remove(&s->hardware, (unsigned)slot);
        }
}

static void one_access_hits_every_slot_that_it_touches(void **state)
{
    struct scene *s = scene_start(state);

    scene_add(s, buffer + 8, 1, HARDWARE_WRITE);
    scene_add(s, buffer + 24, 8, HARDWARE_WRITE);
    scene_add(s, buffer + 14, 2, HARDWARE_READ_WRITE);
    scene_add(s, buffer + 12, 4, HARDWARE_WRITE);
    scene_sync(s);
    scene_expect(s, WRITE_WORD, 8, 1 | 4 | 8);
    scene_expect(s, WRITE_WORD, 16, 0);
    scene_expect(s, WRITE, 31, 2);
}

static void the_kernels_own_writes_are_not_seen(void **state)
{
    struct scene *s = scene_start(state);

    scene_add(s, buffer + 8, 8, HARDWARE_READ_WRITE);
    scene_sync(s);
    scene_expect(s, LET_KERNEL_WRITE, 0, 0);
    scene_expect(s, READ, 8, 1);
}

static uint64_t pc(pid_t tid)
{
    uint64_t value;

    assert_return_code(regs_read_role(tid, ARCH_PC, &value), 0);
    return value;
}

/* Stands at called() before it has done anything. */
static void run_to_call(struct scene *s)
{
    scene_order(s, CALL, 0);
    s->orders->calls = 0;
    assert_int_equal(thread_resume(s->child.pid), SIGTRAP);
    thread_assert_hit(s->child.pid, 1, false);
    assert_int_equal(pc(s->child.pid), (uintptr_t)called);
    assert_int_equal(s->orders->calls, 0);
}

static void write_flags(pid_t tid, uint64_t clear, uint64_t set)
{
    uint64_t flags;

    assert_return_code(regs_read_role(tid, ARCH_FLAGS, &flags), 0);
    assert_return_code(regs_write_role(tid, ARCH_FLAGS, (flags & ~clear) | set), 0);
}

#define RF UINT64_C(0x10000)

static void an_execute_slot_stops_before_and_is_passed_once(void **state)
{
    struct scene *s = scene_start(state);
    pid_t tid = s->child.pid;

    scene_add(s, (void *)called, 1, HARDWARE_EXECUTE);
    scene_sync(s);

    run_to_call(s);
    assert_int_equal(thread_resume(tid), SIGUSR1);
    assert_int_equal(s->orders->calls, 1);

    run_to_call(s);
    thread_step(tid);
    thread_assert_hit(tid, 0, true);
    assert_int_equal(s->orders->calls, 1);
    assert_int_equal(thread_resume(tid), SIGUSR1);

    run_to_call(s); /* registers written back */
    write_flags(tid, 0, 0);
    assert_int_equal(thread_resume(tid), SIGUSR1);

    run_to_call(s); /* an interrupt before it has gone on */
    assert_return_code(ptrace_ops_interrupt(tid), 0);
    assert_int_equal(thread_resume(tid), SIGTRAP | PTRACE_EVENT_STOP << 8);
    assert_int_equal(pc(tid), (uintptr_t)called);
    assert_int_equal(thread_resume(tid), SIGUSR1);

    run_to_call(s); /* without the flag it hits again */
    write_flags(tid, RF, 0);
    assert_int_equal(thread_resume(tid), SIGTRAP);
    thread_assert_hit(tid, 1, false);
    assert_int_equal(s->orders->calls, 0);
    assert_int_equal(thread_resume(tid), SIGUSR1);
    assert_int_equal(s->orders->calls, 1);
}

/* What has to be known where a breakpoint is set at the program counter. */
static void a_slot_set_where_a_thread_stands_hits_unless_the_flag_passes_it(void **state)
{
    struct scene *s = scene_start(state);
    pid_t tid = s->child.pid;
    int slot;

    slot = scene_add(s, (void *)called, 1, HARDWARE_EXECUTE);
    scene_sync(s);
    for (int pass = 0; pass < 2; pass++) {
        uint64_t next;

        run_to_call(s);
        thread_step(tid);
        thread_assert_hit(tid, 0, true);
        next = pc(tid);
        hardware_remove(&s->hardware, (unsigned)slot);
        slot = scene_add(s, (void *)next, 1, HARDWARE_EXECUTE); // NOLINT(performance-no-int-to-ptr)
        scene_sync(s);
        if (pass)
            write_flags(tid, 0, RF);
        else {
            thread_step(tid); /* and no step was done */
            thread_assert_hit(tid, 1, false);
            assert_int_equal(pc(tid), next);
        }
        assert_int_equal(thread_resume(tid), SIGUSR1);
        hardware_remove(&s->hardware, (unsigned)slot);
        slot = scene_add(s, (void *)called, 1, HARDWARE_EXECUTE);
        scene_sync(s);
    }
}

static void a_step_over_a_watched_write_tells_both(void **state)
{
    struct scene *s = scene_start(state);
    uint32_t mask = 0;
    bool stepped = false;

    scene_add(s, buffer + 8, 1, HARDWARE_WRITE);
    scene_sync(s);
    scene_order(s, WRITE, 8);
    for (int i = 0; i < 1000 && mask == 0; i++) {
        siginfo_t info;

        thread_step(s->child.pid);
        assert_return_code(ptrace_ops_get_siginfo(s->child.pid, &info), 0);
        assert_int_equal(info.si_code, TRAP_TRACE);
        assert_return_code(hardware_read_hits(s->child.pid, &mask, &stepped), 0);
        assert_true(stepped);
    }
    assert_int_equal(mask, 1);
    assert_int_equal(thread_resume(s->child.pid), SIGUSR1);
}

/* The same slot, with an address that its former length did not allow. */
static void a_slot_takes_another_address_and_length(void **state)
{
    struct scene *s = scene_start(state);

    assert_int_equal(scene_add(s, buffer + 8, 8, HARDWARE_WRITE), 0);
    scene_sync(s);
    hardware_remove(&s->hardware, 0);
    assert_int_equal(scene_add(s, buffer + 13, 1, HARDWARE_WRITE), 0);
    scene_sync(s);
    scene_expect(s, WRITE, 12, 0);
    scene_expect(s, WRITE, 13, 1);
    hardware_remove(&s->hardware, 0);
    scene_sync(s);
    scene_expect(s, WRITE, 13, 0);
}

static void a_slot_of_another_thread_does_not_hit(void **state)
{
    struct scene *s = scene_start(state);
    pid_t tid = s->child.pid;

    assert_int_equal(hardware_add(&s->hardware, (uintptr_t)buffer + 8, 1, HARDWARE_WRITE, tid + 1),
                     0);
    assert_int_equal(hardware_add(&s->hardware, (uintptr_t)buffer + 9, 1, HARDWARE_WRITE, tid), 1);
    scene_sync(s);
    scene_expect(s, WRITE, 8, 0);
    scene_expect(s, WRITE, 9, 2);
}

#define test(f) cmocka_unit_test_setup_teardown(f, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(each_kind_and_size_hits_its_bytes_and_not_their_neighbours),
        test(one_access_hits_every_slot_that_it_touches),
        test(the_kernels_own_writes_are_not_seen),
        test(an_execute_slot_stops_before_and_is_passed_once),
        test(a_slot_set_where_a_thread_stands_hits_unless_the_flag_passes_it),
        test(a_step_over_a_watched_write_tells_both),
        test(a_slot_takes_another_address_and_length),
        test(a_slot_of_another_thread_does_not_hit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
