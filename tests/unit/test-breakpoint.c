/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/regs.h"
#include "tests/unit/breakpoint-fixture.h"

/* Software breakpoints on real programs, which must not notice: where they may be, who is told of
 * what, and what is read and written meanwhile. */

static volatile struct calling *shared;

static void thread_stands_before_the_instruction_and_reads_its_own_text(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_push);
    function *volatile call = f_push; /* gcc knows no bytes of a function's */
    struct process *p;
    const struct event *e;
    uint8_t bytes[16];
    uint64_t pc;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, at(f_push));
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_BREAKPOINT, 2000);
    assert_non_null(e);
    assert_true(e->stopped);
    assert_int_equal(e->breakpoint.id, id);
    assert_true(e->breakpoint.address == (uintptr_t)f_push);
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == (uintptr_t)f_push);
    p = session_find(f->session, pid)->process;
    assert_int_equal(memory_read(p, pc - 4, bytes, sizeof(bytes)), sizeof(bytes));
    assert_memory_equal(bytes, (const char *)(uintptr_t)call - 4, sizeof(bytes));
    assert_int_equal(memory_read_text(p, pc, bytes, 1), 1);
    assert_int_equal(bytes[0], 0xcc);
    /* Nothing of it is repeated when it goes on, nor when it is stepped off. */
    assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_STEP), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == (uintptr_t)f_push + 1);
    assert_int_equal(shared->calls[0], 0);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_BREAKPOINT);
    assert_int_equal(shared->calls[0], 1);
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_true(text_is_clean(pid));
    for (int msec = 0; msec < 2000 && shared->calls[0] <= 1; msec++)
        usleep(1000);
    assert_true(shared->calls[0] > 1);
    fixture_kill(f, pid);
}

static void breakpoint_under_a_standing_thread_is_not_hit_again(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_push);
    uint32_t first;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    first = add_breakpoint(f, pid, at(f_push));
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    assert_int_equal(drop_breakpoint(f, pid, first), 0);
    add_breakpoint(f, pid, at(f_push));
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    assert_int_equal(shared->calls[0], 1);
    fixture_kill(f, pid);
}

static void hit_of_a_breakpoint_that_is_gone_is_swallowed(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = calling_start(four_threads_call, f_push);

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    shared->go = 1;
    for (int i = 0; i < 200; i++) {
        uint32_t id = add_breakpoint(f, pid, o);

        if (i % 3)
            fixture_serve_for(f, 1);
        else
            usleep(500);
        assert_int_equal(drop_breakpoint(f, pid, id), 0);
    }
    run_threads(f, 20);
    assert_int_equal(shared->wrong, 0);
    assert_true(text_is_clean(pid));
    assert_non_null(session_find(f->session, pid));
    fixture_kill(f, pid);
}

void own_trap(void);
__asm__(".text\n.type own_trap, @function\nown_trap: int3\nret\n.size own_trap, . - own_trap\n");

static void on_trap(int signo)
{
    shared->traps++;
}

static int traps_itself(int ready)
{
    signal(SIGTRAP, on_trap);
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    for (int i = 0; i < 10; i++)
        own_trap();
    for (int i = 0; i < 10; i++)
        __asm__ volatile(".byte 0xcd, 0x03");
    raise(SIGTRAP);
    shared->done = 1;
    for (;;)
        pause();
    return 0;
}

static void int3_of_the_program_is_its_own(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = calling_start(traps_itself, f_push);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add_breakpoint(f, pid, o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(shared->traps, 21);
    fixture_kill(f, pid);
}

static void breakpoint_on_an_int3_of_the_program(void **state)
{
    struct breakpoint_options o = {.address = (uintptr_t)own_trap, .report_only = true};
    struct fixture *f = *state;
    pid_t pid = calling_start(traps_itself, f_push);
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(shared->traps, 21);
    assert_int_equal(hits_of(f, pid, id), 10);
    fixture_kill(f, pid);
}

static void detach_under_fire(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;

    o.report_only = true;
    for (int i = 0; i < 20; i++) {
        pid_t pid = calling_start(four_threads_call, i % 2 ? f_multiply : f_push);
        uint64_t before;

        o.address = (uint64_t)(uintptr_t)shared->call;
        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        add_breakpoint(f, pid, o);
        shared->go = 1;
        fixture_serve_for(f, 5 + i);
        assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
        for (int k = 0; k < THREADS; k++)
            if (shared->tids[k])
                assert_true(is_let_go(f, shared->tids[k]));
        assert_true(text_is_clean(pid));
        before = all_calls();
        for (int msec = 0; msec < 2000 && all_calls() == before; msec++)
            usleep(1000);
        assert_true(all_calls() > before);
        assert_int_equal(shared->wrong, 0);
        fixture_kill(f, pid);
    }
}

static void condition_ignore_thread_and_temporary(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(four_threads_call, f_push);
    struct breakpoint_options o = at(f_push);
    uint32_t never, one, ignores, once;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    o.condition = (struct condition){
        .set = true, .operator= CONDITION_EQUAL, .name = "rdi", .constant = UINT64_MAX};
    never = add_breakpoint(f, pid, o);
    o.condition = (struct condition){0};
    o.tid = shared->tids[2];
    one = add_breakpoint(f, pid, o);
    o.tid = 0;
    o.ignore = 5;
    ignores = add_breakpoint(f, pid, o);
    o.ignore = 0;
    o.temporary = true;
    once = add_breakpoint(f, pid, o);
    run_threads(f, 50);
    assert_true(all_calls() > 20);
    assert_int_equal(hits_of(f, pid, never), 0);
    assert_int_equal(hits_of(f, pid, one), shared->calls[2]);
    assert_int_equal(hits_of(f, pid, ignores), all_calls() - 5);
    assert_int_equal(drop_breakpoint(f, pid, once), -ENOENT);
    fixture_kill(f, pid);
}

static void place_that_is_no_text_is_refused(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_push);
    struct attachment *a;
    static int data;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    a = session_find(f->session, pid);
#define REFUSED(where, error)                                                                      \
    assert_int_equal(                                                                              \
        breakpoint_add(f->trace, a, &(struct breakpoint_options){.address = (where)}, &id), error)
    REFUSED((uintptr_t)&data, -EACCES);
    REFUSED((uintptr_t)shared, -EACCES);
    REFUSED(0, -EFAULT);
    REFUSED(UINT64_MAX, -EFAULT);
    REFUSED(UINT64_C(1) << 63, -EFAULT);
    a->process->memory.lent_for_writing = true;
    REFUSED((uintptr_t)f_push, -ETXTBSY);
#undef REFUSED
    assert_true(TAILQ_EMPTY(&a->breakpoints));
    assert_int_equal(breakpoint_remove(f->trace, a, 1), -ENOENT);
    fixture_kill(f, pid);
}

static void text_that_is_written_over_a_breakpoint(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_nop);
    struct process *p;
    uint8_t bytes[4];
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, at(f_nop));
    p = session_find(f->session, pid)->process;
    /* Two bytes that end in the breakpoint, and three from it on. */
    assert_int_equal(memory_write(p, (uintptr_t)f_nop - 1, "\x90\x66", 2), 2);
    assert_int_equal(memory_read(p, (uintptr_t)f_nop - 1, bytes, 4), 4);
    assert_memory_equal(bytes, "\x90\x66", 2);
    assert_int_equal(memory_read_text(p, (uintptr_t)f_nop, bytes, 1), 1);
    assert_int_equal(bytes[0], 0xcc);
    assert_int_equal(drop_breakpoint(f, pid, id), 0);
    assert_int_equal(memory_read_text(p, (uintptr_t)f_nop, bytes, 1), 1);
    assert_int_equal(bytes[0], 0x66);
    fixture_kill(f, pid);
}

static void neighbours_are_masked_too(void **state)
{
    function *volatile call = f_relative;
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_relative);
    const uint64_t begin = (uint64_t)(uintptr_t)f_relative;
    struct process *p;
    uint8_t bytes[4];

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    for (uint64_t i = 0; i < 8; i++)
        add_breakpoint(f, pid, (struct breakpoint_options){.address = begin + i});
    p = session_find(f->session, pid)->process;
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(memory_read(p, begin + i, bytes, sizeof(bytes)), sizeof(bytes));
        assert_memory_equal(bytes, (const char *)(uintptr_t)call + i, sizeof(bytes));
    }
    fixture_kill(f, pid);
}

static void breakpoint_behind_a_call_that_is_under_way(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_syscall);
    const uint64_t behind = (uint64_t)(uintptr_t)f_syscall + 2;
    uint64_t pc = 0;

    filter.stops = EVENT_BIT(EVENT_SYSCALL_ENTER);
    assert_int_equal(filter_add_call(&filter, SYS_getppid), 0);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_SYSCALL_ENTER, 2000));
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == behind);
    /* It stands there, but has not come there yet. */
    add_breakpoint(f, pid, (struct breakpoint_options){.address = behind});
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_BREAKPOINT);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_SYSCALL_ENTER);
    assert_int_equal(shared->calls[0], 1);
    assert_int_equal(shared->wrong, 0);
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(thread_stands_before_the_instruction_and_reads_its_own_text),
        TEST(breakpoint_under_a_standing_thread_is_not_hit_again),
        TEST(hit_of_a_breakpoint_that_is_gone_is_swallowed),
        TEST(int3_of_the_program_is_its_own),
        TEST(breakpoint_on_an_int3_of_the_program),
        TEST(detach_under_fire),
        TEST(condition_ignore_thread_and_temporary),
        TEST(place_that_is_no_text_is_refused),
        TEST(text_that_is_written_over_a_breakpoint),
        TEST(neighbours_are_masked_too),
        TEST(breakpoint_behind_a_call_that_is_under_way),
#undef TEST
    };

    shared = calling_share();
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("breakpoint", tests, NULL, NULL);
}
