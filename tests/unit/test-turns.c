/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/ptrace-ops.h"
#include "tests/unit/trace-fixture.h"

/* Threads that stop as often as they are let: each has its turn. */

enum { THREADS = 16, FEW = 6, IDLE_THREADS = 100 };

static atomic_int *started; /* shared with the tracee */

static void *sends_itself_signals(void *unused)
{
    const pid_t pid = getpid(), tid = gettid();

    atomic_fetch_add(started, 1);
    for (;;)
        syscall(SYS_tgkill, pid, tid, SIGURG);
    return NULL;
}

static void *sleeps(void *unused)
{
    atomic_fetch_add(started, 1);
    for (;;)
        pause();
    return NULL;
}

static void start_thread(void *(*function)(void *))
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 * 1024);
    if (pthread_create(&thread, &attr, function, NULL) != 0)
        _exit(99);
    pthread_attr_destroy(&attr);
}

static void wait_for_threads(int n)
{
    while (atomic_load(started) < n)
        usleep(1000);
}

static int floods(int ready)
{
    for (int i = 0; i < THREADS; i++)
        start_thread(sends_itself_signals);
    wait_for_threads(THREADS);
    child_is_ready(ready);
    sleeps(NULL);
    return 0;
}

/* Some that stop at each end of the kernel's list, and many between them that don't. */
static int floods_among_idle_threads(int ready)
{
    for (int i = 0; i < FEW; i++)
        start_thread(sends_itself_signals);
    wait_for_threads(FEW);
    for (int i = 0; i < IDLE_THREADS; i++)
        start_thread(sleeps);
    wait_for_threads(FEW + IDLE_THREADS);
    for (int i = FEW; i < 2 * FEW; i++)
        start_thread(sends_itself_signals);
    wait_for_threads(2 * FEW + IDLE_THREADS);
    child_is_ready(ready);
    sleeps(NULL);
    return 0;
}

static int setup(void **state)
{
    started =
        mmap(NULL, sizeof(*started), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(started != MAP_FAILED);
    return fixture_setup(state);
}

static int teardown(void **state)
{
    munmap(started, sizeof(*started));
    return fixture_teardown(state);
}

static void serve_for(struct fixture *f, int msec)
{
    const uint64_t end = event_now_usec() + (uint64_t)msec * 1000;
    siginfo_t report;

    while (event_now_usec() < end)
        if (trace_next(f->trace, WNOHANG, &report) > 0)
            trace_dispatch(f->trace, &report);
}

/* No event of a signal, so that there is nothing but turns to be had. */
static void attach(struct fixture *f, pid_t pid)
{
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_return_code(
        fixture_set_filter(f, f->session, pid, &(struct filter){.report = EVENT_ENDS}), 0);
}

/* How many others are served before a thread that stands has its turn. */
static unsigned count_others(struct fixture *f, pid_t tid)
{
    const unsigned enough = 100000;
    siginfo_t report = {0};
    unsigned n = 0;

    assert_true(becomes(tid, 't'));
    for (; report.si_pid != tid && n < enough; n++)
        if (trace_next(f->trace, WNOHANG, &report) > 0)
            trace_dispatch(f->trace, &report);
    return n;
}

static int list_tids(struct fixture *f, pid_t pid, pid_t *tids)
{
    const struct tracee *tracee;
    int n = 0;

    TAILQ_FOREACH(tracee, &process_find(f->trace, pid)->tracees, siblings)
        tids[n++] = tracee->tid;
    return n;
}

static void every_thread_of_a_flood_has_its_turn(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(floods), tids[THREADS + 1];
    int n;

    attach(f, pid);
    n = list_tids(f, pid, tids);
    assert_int_equal(n, THREADS + 1);
    serve_for(f, 100); /* until it is known who is lively */
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < n; i++)
            if (tids[i] != pid)
                assert_in_range(count_others(f, tids[i]), 0, 8 * THREADS);
    fixture_kill(f, pid);
}

static void few_that_flood_among_many_that_sleep_have_theirs(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(floods_among_idle_threads), tids[2 * FEW + IDLE_THREADS + 1];
    int n;

    attach(f, pid);
    n = list_tids(f, pid, tids);
    assert_int_equal(n, 2 * FEW + IDLE_THREADS + 1);
    for (int i = 0; i < n; i++) /* those that sleep have come to it */
        for (int msec = 0; msec < 2000 && !strchr("St", proc_state(tids[i])); msec++)
            serve_for(f, 1);
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < n; i++)
            if (proc_state(tids[i]) != 'S')
                assert_in_range(count_others(f, tids[i]), 0, n * TURNS_OTHERS_EVERY * 2);
    fixture_kill(f, pid);
}

static void interrupt_of_any_thread_in_a_flood_takes_effect_soon(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(floods), tids[THREADS + 1];
    int n;

    attach(f, pid);
    n = list_tids(f, pid, tids);
    for (int i = 0; i < n; i++) {
        const struct event *e;

        assert_int_equal(trace_interrupt(f->trace, f->session, pid, tids[i]), 1);
        assert_in_range(count_others(f, tids[i]), 0, TURNS_LOOKS_MAX);
        e = event_queue_find(&f->session->queue, pid, tids[i]);
        assert_non_null(e);
        assert_int_equal(e->kind, EVENT_STOP);
        assert_int_equal(fixture_continue(f, f->session, pid, tids[i]), 1);
    }
    fixture_kill(f, pid);
}

/* A child of the test's own, traced by it: what a tracer's doorbell is. */
static void child_of_the_owner_is_heard_in_a_flood(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(floods), bell = fork();
    siginfo_t report = {0};
    unsigned others = 0;

    assert_true(bell >= 0);
    if (bell == 0)
        for (;;)
            pause();
    assert_return_code(ptrace_ops_seize(bell, 0), 0);
    attach(f, pid);
    serve_for(f, 100);
    assert_return_code(kill(bell, SIGUSR1), errno);
    assert_true(becomes(bell, 't'));
    while (trace_next(f->trace, 0, &report) > 0 && report.si_pid != bell && others++ < 1000)
        trace_dispatch(f->trace, &report);
    assert_int_equal(report.si_pid, bell);
    assert_in_range(others, 0, TURNS_LOOKS_MAX);

    kill(bell, SIGKILL);
    assert_int_equal(waitpid(bell, NULL, 0), bell);
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(every_thread_of_a_flood_has_its_turn),
        TEST(few_that_flood_among_many_that_sleep_have_theirs),
        TEST(interrupt_of_any_thread_in_a_flood_takes_effect_soon),
        TEST(child_of_the_owner_is_heard_in_a_flood),
#undef TEST
    };

    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
