/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/captures.h"
#include "daemon/trace/control.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/regs.h"
#include "tests/unit/threads-fixture.h"
#include "tests/unit/trace-fixture.h"

/* How threads are resumed: step by step, call by call, with another signal or none, alone or all at
 * once. */

#define STEP_BIT EVENT_BIT(EVENT_STEP)

/* Shared with the tracees. */
static volatile struct {
    struct threads threads;
    int go;
    int got_signal;
    int calls;
} * shared;

static int makes_calls(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    for (int i = 0; i < 3; i++)
        syscall(SYS_getppid);
    syscall(SYS_close, -1);
    (void)!syscall(SYS_write, -1, "hello", 5UL);
    shared->calls = 1;
    for (;;)
        pause();
    return 0;
}

static void on_signal(int signo)
{
    shared->got_signal = signo;
}

static int handles_signals(int ready)
{
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, on_signal);
    child_is_ready(ready);
    for (;;)
        pause();
    return 0;
}

static pid_t start(int (*child)(int))
{
    memset((void *)shared, 0, sizeof(*shared));
    return fixture_start(child);
}

static uint64_t pc_of(pid_t tid)
{
    uint64_t pc = 0;

    assert_return_code(regs_read_role(tid, ARCH_PC, &pc), 0);
    return pc;
}

static size_t count_stopped(struct fixture *f, pid_t pid)
{
    struct attachment *a = session_find(f->session, pid);
    const struct tracee *tracee;
    size_t n = 0;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings)
        if (tracee->state == TRACEE_STOPPED && engine_find(tracee, a)->held)
            n++;
    return n;
}

/* Stops all, steps one ten times with its registers read at each step: nobody else may move. */
static void one_thread_steps_while_all_others_stand(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(four_threads_count), tid;
    uint64_t counters[4], last = 0;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    tid = shared->threads.tids[2];
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    for (int i = 0; i < 500 && count_stopped(f, pid) < 4; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(count_stopped(f, pid), 4);
    while (fixture_find(f, f->session, EVENT_STOP, 10))
        ;
    memcpy(counters, (void *)shared->threads.counters, sizeof(counters));
    for (int i = 0; i < 10; i++) {
        const struct event *e;
        uint64_t pc;

        assert_int_equal(fixture_continue_in(f, f->session, pid, tid, RESUME_STEP), 1);
        e = fixture_next(f, f->session);
        assert_int_equal(e->kind, EVENT_STEP);
        assert_int_equal(e->tid, tid);
        assert_true(e->stopped);
        assert_int_equal(count_stopped(f, pid), 4);
        pc = pc_of(tid);
        assert_true(pc != last);
        last = pc;
    }
    for (int i = 0; i < 4; i++)
        assert_true(i == 2 ? shared->threads.counters[i] - counters[i] <= 10
                           : shared->threads.counters[i] == counters[i]);
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    fixture_kill(f, pid);
}

static void one_thread_steps_while_the_others_run(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(four_threads_count), tid;
    uint64_t before;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    tid = shared->threads.tids[1];
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, tid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    before = shared->threads.counters[3];
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fixture_continue_in(f, f->session, pid, tid, RESUME_STEP), 1);
        assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
        assert_int_equal(count_stopped(f, pid), 1);
    }
    for (int msec = 0; msec < 2000 && shared->threads.counters[3] <= before + 1000; msec++)
        usleep(1000);
    assert_true(shared->threads.counters[3] > before + 1000);
    fixture_kill(f, pid);
}

static void observer_whose_time_is_over_stops_nobody_more(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(four_threads_count), tid;
    struct process *p;
    uint64_t before[4];

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    session_find(f->session, pid)->observe = true;
    p = process_find(f->trace, pid);
    tid = shared->threads.tids[1];
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, tid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    assert_int_equal(p->observe_time.n_held, 1);
    p->observe_time.left_usec = 0;
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    assert_null(fixture_find(f, f->session, EVENT_STOP, 20));
    assert_int_equal(observe_let_go(f->trace), 0);
    assert_int_equal(p->observe_time.n_held, 0);
    fixture_serve_for(f, 20);
    memcpy(before, (void *)shared->threads.counters, sizeof(before));
    for (int i = 0; i < 4; i++) {
        for (int msec = 0; msec < 2000 && shared->threads.counters[i] == before[i]; msec++)
            fixture_serve_for(f, 1);
        assert_true(shared->threads.counters[i] != before[i]);
    }
    fixture_kill(f, pid);
}

static void range_is_stepped_through_with_one_event(void **state)
{
    struct continue_options o = {.mode = RESUME_STEP};
    struct fixture *f = *state;
    pid_t pid = start(four_threads_count), tid;
    uint64_t pc;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    tid = shared->threads.tids[1];
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    for (int i = 0; i < 500 && count_stopped(f, pid) < 4; i++)
        fixture_serve_for(f, 10);
    while (fixture_find(f, f->session, EVENT_STOP, 10))
        ;
    /* The loop of counts() lies inside, so that only an interrupt ends it. */
    pc = pc_of(tid);
    o.range_start = pc - 256;
    o.range_end = pc + 256;
    assert_int_equal(trace_continue(f->trace, f->session, pid, tid, &o), 1);
    assert_null(fixture_find(f, f->session, EVENT_STEP, 30));
    assert_true(shared->threads.counters[1] > 0);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, tid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    /* And a range that it leaves at once. */
    pc = pc_of(tid);
    o.range_start = pc;
    o.range_end = pc + 1;
    assert_int_equal(trace_continue(f->trace, f->session, pid, tid, &o), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STEP, 2000));
    assert_true(pc_of(tid) != pc);
    fixture_kill(f, pid);
}

/* What the other session asked for goes on when one continues. */
static void step_of_one_session_is_none_of_the_others(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(four_threads_count), tid;
    struct session *other = session_new(f->trace, 1024, true, NULL);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(fixture_attach(f, other, pid, 0), 1);
    tid = shared->threads.tids[1];
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, tid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    assert_int_equal(fixture_continue_in(f, f->session, pid, tid, RESUME_STEP), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STEP, 2000));
    assert_null(event_queue_find(&other->queue, 0, 0));
    fixture_kill(f, pid);
}

static int attach_to_calls(struct fixture *f, pid_t pid, uint32_t report, uint32_t stops,
                           const uint64_t *numbers, size_t n)
{
    struct filter filter = FILTER_DEFAULT;

    filter.report = report;
    filter.stops = stops;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(filter_add_call(&filter, numbers[i]), 0);
    return fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS);
}

static void each_call_is_told_at_both_ends_and_nothing_stops(void **state)
{
    const uint64_t numbers[] = {SYS_getppid, SYS_close};
    struct fixture *f = *state;
    pid_t pid = start(makes_calls);
    const struct event *e;

    assert_int_equal(attach_to_calls(f, pid, EVENT_CALLS, 0, numbers, 2), 1);
    fixture_serve_for(f, 20); /* it makes calls all the time */
    shared->go = 1;
    for (int i = 0; i < 4; i++) {
        uint64_t number = i < 3 ? SYS_getppid : SYS_close;

        e = fixture_next(f, f->session);
        assert_int_equal(e->kind, EVENT_SYSCALL_ENTER);
        assert_int_equal(e->call.number, number);
        assert_false(e->stopped);
        if (i == 3)
            assert_int_equal((int)e->call.arguments[0], -1);
        e = fixture_next(f, f->session);
        assert_int_equal(e->kind, EVENT_SYSCALL_EXIT);
        assert_int_equal(e->call.number, number);
        assert_int_equal(e->call.result, i < 3 ? getpid() : -EBADF);
        assert_int_equal(e->call.failed, i == 3);
    }
    for (int i = 0; i < 500 && shared->calls == 0; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->calls, 1);
    fixture_kill(f, pid);
}

/* Nobody serves stops between the filter and the call. */
static void filter_holds_when_it_is_set(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(makes_calls);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    filter.report = EVENT_CALLS;
    assert_int_equal(fixture_set_filter(f, f->session, pid, &filter), 0);
    assert_int_equal(tidmap_get(&f->trace->tids, pid)->state, TRACEE_RUNNING);
    assert_int_equal(tidmap_get(&f->trace->tids, pid)->resumed, RESUME_SYSCALL);
    fixture_kill(f, pid);
}

static void only_calls_that_fail_are_told(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(makes_calls);
    const struct event *e;

    filter.report = EVENT_BIT(EVENT_SYSCALL_EXIT);
    assert_int_equal(filter_add_errno(&filter, EBADF), 0);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    shared->go = 1;
    e = fixture_next(f, f->session);
    assert_int_equal(e->call.number, SYS_close);
    e = fixture_next(f, f->session);
    assert_int_equal(e->call.number, SYS_write);
    assert_int_equal(e->call.result, -EBADF);
    assert_null(fixture_find(f, f->session, EVENT_SYSCALL_EXIT, 30));
    fixture_kill(f, pid);
}

static void call_is_captured_while_the_thread_stands(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(makes_calls);
    struct captured head;
    const uint8_t *bytes;
    size_t offset = 0;
    const struct event *e;

    filter.report = EVENT_BIT(EVENT_SYSCALL_ENTER);
    filter.n_captures = 2;
    filter.captures[0] = (struct capture){
        .number = SYS_write, .argument = 1, .kind = CAPTURE_BUFFER, .length_from = 2, .size = 100};
    filter.captures[1] =
        (struct capture){.number = SYS_write, .argument = 1, .kind = CAPTURE_STRING, .size = 3};
    assert_int_equal(filter_add_call(&filter, SYS_write), 0);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    shared->go = 1;
    for (int msec = 0; msec < 2000 && event_queue_is_empty(&f->session->queue); msec++)
        fixture_serve_for(f, 1);
    e = event_queue_find(&f->session->queue, 0, 0);
    assert_non_null(e);
    assert_int_equal(e->call.number, SYS_write);
    assert_non_null(captures_next(e->data, &offset, &head, &bytes));
    assert_int_equal(head.argument, 1);
    assert_int_equal(head.size, 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_non_null(captures_next(e->data, &offset, &head, &bytes));
    assert_int_equal(head.size, 3);
    assert_memory_equal(bytes, "hel", 3);
    assert_null(captures_next(e->data, &offset, &head, &bytes));
    fixture_kill(f, pid);
}

static void thread_goes_from_call_to_call(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(makes_calls);
    const enum event_kind ends[] = {EVENT_SYSCALL_ENTER, EVENT_SYSCALL_EXIT};
    const struct event *e;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    shared->go = 1;
    for (int i = 0, seen = 0; seen < 6; i++) {
        assert_true(i < 1000);
        assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_SYSCALL), 1);
        e = fixture_next(f, f->session);
        assert_true(e->stopped);
        assert_true(e->kind == EVENT_SYSCALL_ENTER || e->kind == EVENT_SYSCALL_EXIT);
        if (e->call.number != SYS_getppid)
            continue;
        assert_int_equal(e->kind, ends[seen % 2]);
        seen++;
    }
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_null(fixture_find(f, f->session, EVENT_SYSCALL_ENTER, 30));
    assert_int_equal(shared->calls, 1);
    fixture_kill(f, pid);
}

static unsigned count_calls(struct session *s, enum event_kind kind, uint64_t number)
{
    struct event *e;
    unsigned n = 0;

    TAILQ_FOREACH(e, &s->queue.events, queue)
        n += e->kind == kind && e->call.number == number;
    return n;
}

static void calls_are_told_though_another_session_steps_over_them(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(makes_calls);
    struct session *other = session_new(f->trace, 4096, true, NULL);
    unsigned steps = 0;

    filter.report = EVENT_CALLS;
    assert_int_equal(filter_add_call(&filter, SYS_getppid), 0);
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(fixture_attach_with(f, other, pid, 0, &filter, FOLLOW_THREADS), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    shared->go = 1;
    while (!shared->calls && steps++ < 20000) {
        assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_STEP), 1);
        assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
    }
    assert_int_equal(shared->calls, 1);
    assert_int_equal(count_calls(other, EVENT_SYSCALL_ENTER, SYS_getppid), 3);
    assert_int_equal(count_calls(other, EVENT_SYSCALL_EXIT, SYS_getppid), 3);
    fixture_kill(f, pid);
}

/* The filter is changed while the thread sleeps in a call: it takes effect all the same. */
static void filter_that_is_set_later_reaches_threads_that_run(void **state)
{
    struct filter wanted = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(makes_calls);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    wanted.report = EVENT_CALLS;
    assert_int_equal(filter_add_call(&wanted, SYS_close), 0);
    assert_int_equal(fixture_set_filter(f, f->session, pid, &wanted), 0);
    fixture_serve_for(f, 10);
    shared->go = 1;
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_SYSCALL_ENTER);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_SYSCALL_EXIT);
    fixture_kill(f, pid);
}

static void signal_is_replaced(void **state)
{
    const struct continue_options o = {.mode = RESUME_RUN, .signo = SIGUSR2};
    struct fixture *f = *state;
    pid_t pid = start(handles_signals);

    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_SIGNAL)), 1);
    kill(pid, SIGUSR1);
    assert_non_null(fixture_find(f, f->session, EVENT_SIGNAL, 2000));
    assert_int_equal(trace_continue(f->trace, f->session, pid, pid, &o), 1);
    fixture_serve(f, 30);
    assert_int_equal(shared->got_signal, SIGUSR2);
    fixture_kill(f, pid);
}

static void signal_is_dropped(void **state)
{
    const struct continue_options o = {.mode = RESUME_RUN, .suppress = true};
    struct fixture *f = *state;
    pid_t pid = start(handles_signals);

    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_SIGNAL)), 1);
    kill(pid, SIGTERM);
    assert_non_null(fixture_find(f, f->session, EVENT_SIGNAL, 2000));
    assert_int_equal(trace_continue(f->trace, f->session, pid, pid, &o), 1);
    fixture_serve(f, 30);
    assert_true(proc_state(pid) == 'S');
    assert_int_equal(shared->got_signal, 0);
    /* And the next one is delivered again. */
    kill(pid, SIGUSR1);
    assert_non_null(fixture_find(f, f->session, EVENT_SIGNAL, 2000));
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    fixture_serve(f, 30);
    assert_int_equal(shared->got_signal, SIGUSR1);
    fixture_kill(f, pid);
}

static void signal_is_rewritten(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(handles_signals);
    struct tracee *tracee;
    siginfo_t info;

    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_SIGNAL)), 1);
    kill(pid, SIGUSR1);
    assert_non_null(fixture_find(f, f->session, EVENT_SIGNAL, 2000));
    tracee = tidmap_get(&f->trace->tids, pid);
    assert_int_equal(control_get_siginfo(tracee, &info), 0);
    assert_int_equal(info.si_signo, SIGUSR1);
    assert_int_equal(info.si_pid, getpid());
    info.si_signo = SIGUSR2;
    assert_int_equal(control_set_siginfo(f->trace, tracee, &info), 0);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    fixture_serve(f, 30);
    assert_int_equal(shared->got_signal, SIGUSR2);
    fixture_kill(f, pid);
}

static void there_is_no_signal_to_replace_in_another_stop(void **state)
{
    const struct continue_options o = {.mode = RESUME_RUN, .signo = SIGUSR2};
    struct fixture *f = *state;
    pid_t pid = start(handles_signals);
    siginfo_t info;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    assert_int_equal(trace_continue(f->trace, f->session, pid, pid, &o), -ENOMSG);
    assert_int_equal(trace_continue(f->trace, f->session, pid, 0, &o), -ENOMSG);
    assert_int_equal(control_get_siginfo(tidmap_get(&f->trace->tids, pid), &info), -ENOMSG);
    assert_int_equal(count_stopped(f, pid), 1);
    fixture_kill(f, pid);
}

static void signal_that_is_passed_silently_is_delivered(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(handles_signals);

    filter.stops = EVENT_BIT(EVENT_SIGNAL);
    filter.pass_signals = UINT64_C(1) << (SIGUSR1 - 1);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    kill(pid, SIGUSR1);
    assert_null(fixture_find(f, f->session, EVENT_SIGNAL, 50));
    assert_int_equal(shared->got_signal, SIGUSR1);
    kill(pid, SIGUSR2);
    assert_non_null(fixture_find(f, f->session, EVENT_SIGNAL, 2000));
    fixture_kill(f, pid);
}

static void stop_of_one_thread_stops_all(void **state)
{
    const struct attach_options o = {.follow_threads = true, .all_stop = true};
    struct fixture *f = *state;
    pid_t pid = start(four_threads_count);

    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &FILTER_DEFAULT, o), 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(trace_interrupt(f->trace, f->session, pid, shared->threads.tids[i % 4]),
                         1);
        for (int msec = 0; msec < 5000 && count_stopped(f, pid) < 4; msec++)
            fixture_serve(f, 1);
        assert_int_equal(count_stopped(f, pid), 4);
        assert_int_equal(fixture_continue(f, f->session, pid, 0), 1);
        assert_int_equal(count_stopped(f, pid), 0);
        fixture_serve(f, 5);
    }
    fixture_kill(f, pid);
}

static void interrupt_of_a_stopped_thread_is_told_so(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(handles_signals);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 0);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 0);
    fixture_kill(f, pid);
}

static void no_exit_is_missed_when_a_held_thread_is_killed_and_continued(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 30; i++) {
        pid_t pid = start(handles_signals);

        assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_EXIT)), 1);
        assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
        kill(pid, SIGKILL);
        usleep(i * 10);
        fixture_continue(f, f->session, pid, 0);
        assert_non_null(fixture_find(f, f->session, EVENT_EXIT, 2000));
        fixture_continue(f, f->session, pid, 0);
        assert_non_null(fixture_find(f, f->session, EVENT_KILLED, 2000));
    }
}

static void threads_come_and_go_quietly(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    const struct event *e;
    pid_t pid;

    filter.quiet_threads = filter.quiet_exit = true;
    pid = start(four_threads_count);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    kill(pid, SIGKILL);
    while ((e = fixture_next(f, f->session)))
        if (e->kind != EVENT_SIGNAL) {
            assert_int_equal(e->tid, pid);
            if (e->kind == EVENT_KILLED)
                break;
        }
}

/* Whether the thread that ended next was told of before that. One may end while another does. */
static bool next_end_has_an_exit(struct fixture *f, pid_t leader)
{
    static pid_t told[16];
    static unsigned n_told;

    for (;;) {
        const struct event *e = fixture_next(f, f->session);

        if (e->tid == leader)
            continue;
        if (e->kind == EVENT_EXIT)
            told[n_told++ % ARRAY_LENGTH(told)] = e->tid;
        if (e->kind != EVENT_EXITED)
            continue;
        for (unsigned i = 0; i < ARRAY_LENGTH(told); i++)
            if (told[i] == e->tid)
                return true;
        return false;
    }
}

/* Whoever asks for it while threads run is told of all that end from then on. */
static void exit_stops_come_and_go_with_the_filter(void **state)
{
    struct filter without = FILTER_DEFAULT;
    struct filter with = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(threads_come_and_go);

    without.report &= ~EVENT_BIT(EVENT_EXIT);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &without, FOLLOW_THREADS), 1);
    for (int i = 0; i < 10; i++)
        assert_false(next_end_has_an_exit(f, pid));
    assert_int_equal(fixture_set_filter(f, f->session, pid, &with), 0);
    (void)next_end_has_an_exit(f, pid); /* that may have been on its way */
    (void)next_end_has_an_exit(f, pid);
    for (int i = 0; i < 10; i++)
        assert_true(next_end_has_an_exit(f, pid));
    fixture_kill(f, pid);
}

/* Held before its end: the stop itself, which nobody can make up for. */
static void thread_is_held_at_its_exit_where_that_is_asked_for_later(void **state)
{
    struct filter without = FILTER_DEFAULT;
    struct filter stops = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(threads_come_and_go);
    const struct event *e;

    without.report &= ~EVENT_BIT(EVENT_EXIT);
    stops.stops |= EVENT_BIT(EVENT_EXIT);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &without, FOLLOW_THREADS), 1);
    assert_false(next_end_has_an_exit(f, pid));
    assert_int_equal(fixture_set_filter(f, f->session, pid, &stops), 0);
    do
        e = fixture_find(f, f->session, EVENT_EXIT, 2000);
    while (e && !e->stopped);
    assert_non_null(e);
    assert_int_not_equal(e->tid, pid);
    assert_int_equal(proc_state(e->tid), 't');
    assert_int_equal(fixture_set_filter(f, f->session, pid, &without), 0); /* nor the leader */
    fixture_continue(f, f->session, pid, 0);
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(one_thread_steps_while_all_others_stand),
        TEST(one_thread_steps_while_the_others_run),
        TEST(observer_whose_time_is_over_stops_nobody_more),
        TEST(range_is_stepped_through_with_one_event),
        TEST(step_of_one_session_is_none_of_the_others),
        TEST(each_call_is_told_at_both_ends_and_nothing_stops),
        TEST(filter_holds_when_it_is_set),
        TEST(only_calls_that_fail_are_told),
        TEST(call_is_captured_while_the_thread_stands),
        TEST(thread_goes_from_call_to_call),
        TEST(calls_are_told_though_another_session_steps_over_them),
        TEST(filter_that_is_set_later_reaches_threads_that_run),
        TEST(signal_is_replaced),
        TEST(signal_is_dropped),
        TEST(signal_is_rewritten),
        TEST(there_is_no_signal_to_replace_in_another_stop),
        TEST(signal_that_is_passed_silently_is_delivered),
        TEST(stop_of_one_thread_stops_all),
        TEST(interrupt_of_a_stopped_thread_is_told_so),
        TEST(no_exit_is_missed_when_a_held_thread_is_killed_and_continued),
        TEST(threads_come_and_go_quietly),
        TEST(exit_stops_come_and_go_with_the_filter),
        TEST(thread_is_held_at_its_exit_where_that_is_asked_for_later),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared)
        return 1;
    threads_tell(&shared->threads);
    return cmocka_run_group_tests_name("trace-resume", tests, NULL, NULL);
}
