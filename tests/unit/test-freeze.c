/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/freeze.h"
#include "tests/unit/threads-fixture.h"
#include "tests/unit/trace-fixture.h"

/* A process stands for a moment, and nobody is told. */

static volatile struct {
    struct threads threads;
    unsigned signals;
} * shared;

static void on_signal(int signo)
{
    shared->signals++;
}

static int counts_signals(int ready)
{
    signal(SIGUSR1, on_signal);
    child_is_ready(ready);
    for (;;)
        shared->threads.counters[0]++;
    return 0;
}

static int waits_for_its_child(int ready)
{
    static int fd;

    fd = ready;
    if (vfork() == 0) {
        child_is_ready(fd);
        usleep(300 * 1000);
        _exit(0);
    }
    for (;;)
        pause();
    return 0;
}

static pid_t start_attached(struct fixture *f, int (*child)(int))
{
    pid_t pid;

    memset((void *)shared, 0, sizeof(*shared));
    pid = fixture_start(child);
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    return pid;
}

static size_t count_standing(const struct process *p)
{
    const struct tracee *tracee;
    size_t n = 0;

    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        n += tracee->state == TRACEE_STOPPED;
    return n;
}

/* Past its exit stop a thread stops no more. */
static size_t count_exiting(const struct process *p)
{
    const struct tracee *tracee;
    size_t n = 0;

    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        n += tracee->state == TRACEE_EXITING;
    return n;
}

/* A loaded machine may have no processor for a thread within the patience of a batch, which then
 * goes without it. */
static void freeze_surely(struct freeze *freeze, struct fixture *f, struct process *p)
{
    for (int i = 0; i < 100; i++) {
        freeze_begin(freeze, f->trace, p);
        if (freeze->batch.n_late == 0)
            return;
        freeze_end(freeze);
    }
    fail_msg("a hundred freezes were late");
}

static void read_counters(uint64_t ret[4])
{
    for (int i = 0; i < 4; i++)
        ret[i] = shared->threads.counters[i];
}

static void assert_counting(bool expected)
{
    uint64_t before[4];

    read_counters(before);
    for (int i = 0; i < 4; i++) {
        for (int msec = 0; msec < (expected ? 2000 : 5) && shared->threads.counters[i] == before[i];
             msec++)
            usleep(1000);
        assert_int_equal(shared->threads.counters[i] != before[i], expected);
    }
}

static void all_stand_and_then_run_and_nobody_is_told(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, four_threads_count);
    struct process *p = process_find(f->trace, pid);
    struct freeze freeze;

    freeze_surely(&freeze, f, p);
    assert_int_equal(count_standing(p), 4);
    assert_counting(false);
    freeze_end(&freeze);
    assert_int_equal(count_standing(p), 0);
    assert_counting(true);
    fixture_serve(f, 20);
    assert_null(event_queue_find(&f->session->queue, 0, 0));
    fixture_kill(f, pid);
}

static void freezes_nest(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, four_threads_count);
    struct process *p = process_find(f->trace, pid);
    struct freeze outer, inner;

    freeze_surely(&outer, f, p);
    freeze_surely(&inner, f, p);
    freeze_end(&inner);
    assert_counting(false);
    freeze_end(&outer);
    assert_counting(true);
    fixture_kill(f, pid);
}

static void what_a_session_holds_stays_held(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, four_threads_count), tid = shared->threads.tids[2];
    struct process *p = process_find(f->trace, pid);
    struct freeze freeze;
    uint64_t before;

    assert_int_equal(trace_interrupt(f->trace, f->session, pid, tid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STOP);
    freeze_surely(&freeze, f, p);
    assert_int_equal(count_standing(p), 4);
    freeze_end(&freeze);
    assert_int_equal(count_standing(p), 1);
    before = shared->threads.counters[2];
    usleep(5000);
    assert_int_equal(shared->threads.counters[2], before);
    assert_int_equal(fixture_continue(f, f->session, pid, tid), 1);
    assert_counting(true);
    fixture_kill(f, pid);
}

static void what_is_continued_meanwhile_runs_afterwards(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, four_threads_count);
    struct process *p = process_find(f->trace, pid);
    struct freeze freeze;

    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    freeze_surely(&freeze, f, p);
    assert_int_equal(fixture_continue(f, f->session, pid, 0), 1);
    assert_counting(false);
    freeze_end(&freeze);
    assert_counting(true);
    fixture_kill(f, pid);
}

static void what_is_detached_meanwhile_is_let_go_afterwards(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, four_threads_count);
    struct freeze freeze;

    freeze_surely(&freeze, f, process_find(f->trace, pid));
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_counting(false);
    freeze_end(&freeze);
    for (int i = 0; i < 500 && process_find(f->trace, pid); i++)
        fixture_serve_for(f, 10);
    assert_null(process_find(f->trace, pid));
    assert_int_equal(proc_tracer(pid), 0);
    assert_counting(true);
    fixture_kill(f, pid);
}

static void a_group_stop_stays_one(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, four_threads_count);
    struct process *p = process_find(f->trace, pid);
    struct freeze freeze;

    kill(pid, SIGSTOP);
    for (int i = 0; i < 4; i++)
        assert_non_null(fixture_find(f, f->session, EVENT_GROUP_STOP, 2000));
    freeze_surely(&freeze, f, p);
    assert_int_equal(count_standing(p), 4);
    freeze_end(&freeze);
    fixture_serve(f, 20);
    assert_null(fixture_find(f, f->session, EVENT_GROUP_STOP, 10));
    assert_counting(false);
    kill(pid, SIGCONT);
    fixture_serve(f, 50);
    assert_counting(true);
    fixture_kill(f, pid);
}

/* Some of the signals are caught in the very moment of a freeze. */
static void no_signal_is_lost_or_added(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, counts_signals);
    unsigned told = 0, caught = 0;

    for (unsigned i = 1; i <= 500; i++) {
        struct process *p = process_find(f->trace, pid);
        struct freeze freeze;

        kill(pid, SIGUSR1);
        usleep(i % 2 * 500); /* it stands at the signal, or is about to */
        freeze_surely(&freeze, f, p);
        caught += TAILQ_FIRST(&p->tracees)->stop == STOP_SIGNAL_DELIVERY;
        freeze_end(&freeze);
        for (int msec = 0; msec < 2000 && shared->signals < i; msec++)
            fixture_serve(f, 1);
        assert_int_equal(shared->signals, i);
    }
    while (fixture_find(f, f->session, EVENT_SIGNAL, 10))
        told++;
    assert_int_equal(told, 500);
    assert_true(caught > 0);
    fixture_kill(f, pid);
}

static void threads_that_are_born_meanwhile_stand_too(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_come_and_go);
    struct process *p = process_find(f->trace, pid);
    size_t most = 0;

    for (int i = 0; i < 300; i++) {
        struct freeze freeze;
        unsigned births;

        freeze_surely(&freeze, f, p);
        births = shared->threads.births;
        assert_int_equal(count_standing(p) + count_exiting(p), p->n_tracees);
        most = count_standing(p) > most ? count_standing(p) : most;
        freeze_end(&freeze);
        for (int n = 0; n < 2000 && shared->threads.births == births; n++)
            (void)fixture_find(f, f->session, EVENT_VFORK, 5); /* it is never idle */
        assert_true(shared->threads.births > births);
    }
    assert_true(most > 1);
    fixture_kill(f, pid);
}

static void a_parent_in_vfork_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, waits_for_its_child);
    struct process *p = process_find(f->trace, pid);
    uint64_t began = event_now_usec();
    struct freeze freeze;

    /* Attached within its vfork, it is not known to be in one: patience ends the wait. */
    freeze_begin(&freeze, f->trace, p);
    assert_int_equal(count_standing(p), 0);
    freeze_end(&freeze);
    assert_true(event_now_usec() - began < 250 * 1000);
    fixture_serve(f, 400);
    assert_true(becomes(pid, 'S'));
    fixture_kill(f, pid);
}

static void a_process_that_is_killed_meanwhile_is_told_of(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, four_threads_count);
    struct freeze freeze;
    int n = 0;

    freeze_begin(&freeze, f->trace, process_find(f->trace, pid));
    kill(pid, SIGKILL);
    usleep(5000);
    freeze_end(&freeze);
    while (fixture_find(f, f->session, EVENT_KILLED, 300))
        n++;
    assert_int_equal(n, 4);
    assert_null(process_find(f->trace, pid));
    assert_int_equal(waitpid(pid, NULL, 0), -1); /* reaped with its report */
}

/* Their exit stops come when they stand already, and are not run over. */
static void exits_of_those_killed_meanwhile_stop_for_who_asked(void **state)
{
    struct fixture *f = *state;
    struct freeze freeze;
    pid_t pid;

    memset((void *)shared, 0, sizeof(*shared));
    pid = fixture_start(four_threads_count);
    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_EXIT)), 1);
    freeze_begin(&freeze, f->trace, process_find(f->trace, pid));
    kill(pid, SIGKILL);
    usleep(5000);
    freeze_end(&freeze);
    for (int i = 0; i < 4; i++) {
        const struct event *e = fixture_find(f, f->session, EVENT_EXIT, 2000);

        assert_non_null(e);
        assert_true(e->stopped);
    }
    assert_int_equal(fixture_continue(f, f->session, pid, 0), 1);
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(all_stand_and_then_run_and_nobody_is_told),
        TEST(freezes_nest),
        TEST(what_a_session_holds_stays_held),
        TEST(what_is_continued_meanwhile_runs_afterwards),
        TEST(what_is_detached_meanwhile_is_let_go_afterwards),
        TEST(a_group_stop_stays_one),
        TEST(no_signal_is_lost_or_added),
        TEST(threads_that_are_born_meanwhile_stand_too),
        TEST(a_parent_in_vfork_is_not_waited_for),
        TEST(a_process_that_is_killed_meanwhile_is_told_of),
        TEST(exits_of_those_killed_meanwhile_stop_for_who_asked),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared)
        return 1;
    threads_tell(&shared->threads);
    return cmocka_run_group_tests_name("freeze", tests, NULL, NULL);
}
