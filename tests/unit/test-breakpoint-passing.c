/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "daemon/trace/regs.h"
#include "daemon/trace/space.h"
#include "tests/unit/breakpoint-fixture.h"

/* How threads pass a software breakpoint: their instruction is emulated, displaced, or stepped in
 * place while all others stand. */

static volatile struct calling *shared;

static void every_kind_of_instruction_is_passed(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < N_CALLING_FUNCTIONS; i++) {
        pid_t pid = calling_start(one_thread_calls, calling_functions[i].call);
        struct breakpoint_options o = at(calling_functions[i].call);
        uint32_t id;

        o.report_only = true;
        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        id = add_breakpoint(f, pid, o);
        run_threads(f, 30);
        if (shared->wrong || all_calls() < 10 || hits_of(f, pid, id) != all_calls())
            fail_msg("%s: %lu calls, %lu hits, %d wrong", calling_functions[i].name, all_calls(),
                     hits_of(f, pid, id), shared->wrong);
        assert_int_equal(drop_breakpoint(f, pid, id), 0);
        assert_true(text_is_clean(pid));
        assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
        fixture_kill(f, pid);
    }
}

static void no_thread_slips_by(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < N_CALLING_FUNCTIONS; i++) {
        pid_t pid = calling_start(four_threads_call, calling_functions[i].call);
        struct breakpoint_options o = at(calling_functions[i].call);
        uint32_t id;

        o.report_only = true;
        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        id = add_breakpoint(f, pid, o);
        run_threads(f, 60);
        if (shared->wrong || all_calls() < 10 || hits_of(f, pid, id) != all_calls())
            fail_msg("%s: %lu calls, %lu hits, %d wrong", calling_functions[i].name, all_calls(),
                     hits_of(f, pid, id), shared->wrong);
        fixture_kill(f, pid);
    }
}

/* No scratch is free, so that what cannot be emulated steps in place, while all others stand. */
static void thread_steps_in_place_while_all_others_stand(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(four_threads_call, f_multiply);
    struct breakpoint_options o = at(f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    session_find(f->session, pid)->process->space->scratch_address = 0;
    run_threads(f, 60);
    assert_int_equal(shared->wrong, 0);
    assert_true(all_calls() > 10);
    assert_int_equal(hits_of(f, pid, id), all_calls());
    fixture_kill(f, pid);
}

static void step_off_a_displaced_instruction_is_one_step(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_multiply);
    uint64_t pc;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add_breakpoint(f, pid, at(f_multiply));
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_STEP), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == (uintptr_t)f_multiply + 4);
    fixture_kill(f, pid);
}

static void stepped_pushf_stores_no_trap_flag(void **state)
{
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_flags);
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, at(f_flags));
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_STEP), 1);
        assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
    }
    assert_int_equal(drop_breakpoint(f, pid, id), 0);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_null(fixture_find(f, f->session, EVENT_SIGNAL, 50));
    assert_true(shared->calls[0] > 1);
    fixture_kill(f, pid);
}

static void pushf_is_stepped_over_in_a_process_that_never_had_a_breakpoint(void **state)
{
    const struct continue_options through = {.mode = RESUME_STEP, .range_end = INT64_MAX};
    struct fixture *f = *state;
    pid_t pid = calling_start(one_thread_calls, f_flags);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    shared->go = 1;
    assert_int_equal(trace_continue(f->trace, f->session, pid, pid, &through), 1);
    for (int i = 0; i < 2000 && shared->calls[0] < 3; i++)
        fixture_serve_for(f, 10);
    assert_true(shared->calls[0] >= 3);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_null(fixture_find(f, f->session, EVENT_SIGNAL, 50));
    assert_int_equal(shared->wrong, 0);
    fixture_kill(f, pid);
}

static void on_timer(int signo)
{
    shared->signals++;
}

static int calls_between_signals(int ready)
{
    const struct itimerval often = {{0, 300}, {0, 300}};

    signal(SIGALRM, on_timer);
    setitimer(ITIMER_REAL, &often, NULL);
    return one_thread_calls(ready);
}

static void signal_on_the_way_makes_no_second_hit(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;
    pid_t pid = calling_start(calls_between_signals, f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    run_threads(f, 300);
    assert_int_equal(shared->wrong, 0);
    assert_true(shared->signals > 20);
    assert_int_equal(hits_of(f, pid, id), all_calls());
    fixture_kill(f, pid);
}

static void thread_that_no_session_traces_passes_unseen(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;
    pid_t pid = calling_start(four_threads_call, f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(
        fixture_attach_with(f, f->session, pid, pid, &FILTER_DEFAULT, (struct attach_options){0}),
        1);
    id = add_breakpoint(f, pid, o);
    run_threads(f, 60);
    assert_int_equal(shared->wrong, 0);
    assert_true(shared->calls[1] > 1);
    assert_int_equal(hits_of(f, pid, id), shared->calls[0]);
    /* With the last breakpoint they go. */
    assert_int_equal(drop_breakpoint(f, pid, id), 0);
    for (int i = 1; i < THREADS; i++)
        assert_true(is_let_go(f, shared->tids[i]));
    assert_int_equal(proc_tracer(pid), getpid());
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(every_kind_of_instruction_is_passed),
        TEST(no_thread_slips_by),
        TEST(thread_steps_in_place_while_all_others_stand),
        TEST(step_off_a_displaced_instruction_is_one_step),
        TEST(stepped_pushf_stores_no_trap_flag),
        TEST(pushf_is_stepped_over_in_a_process_that_never_had_a_breakpoint),
        TEST(signal_on_the_way_makes_no_second_hit),
        TEST(thread_that_no_session_traces_passes_unseen),
#undef TEST
    };

    shared = calling_share();
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("breakpoint-passing", tests, NULL, NULL);
}
