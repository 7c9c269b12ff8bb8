/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/breakpoint-fixture.h"

/* What happens to a process in the moment in which a breakpoint is set, while its threads are being
 * attached or stopped for that. With sanitizers: and nobody works on what is gone. */

#ifndef __x86_64__
#include <stdio.h>

int main(void)
{
    printf("skipped: breakpoints are tested on x86_64\n");
    return 77;
}
#else

static volatile struct {
    int end;
    pid_t worker;
    uint64_t watched;
} * shared;

static void *spins(void *unused)
{
    for (;;)
        shared->watched++;
    return NULL;
}

static void *works_until_told(void *unused)
{
    shared->worker = (pid_t)syscall(SYS_gettid);
    while (!shared->end)
        ;
    return NULL;
}

static void start_threads(int n, void *(*routine)(void *))
{
    pthread_t thread;

    for (int i = 0; i < n; i++)
        pthread_create(&thread, NULL, routine, NULL);
}

static int spins_until_killed(int ready)
{
    start_threads(3, spins);
    child_is_ready(ready);
    spins(NULL);
    return 0;
}

static int executes_when_told(int ready)
{
    child_is_ready(ready);
    while (!shared->end)
        ;
    execl("/bin/sleep", "sleep", "600", NULL);
    return 1;
}

static int has_a_worker_that_ends(int ready)
{
    start_threads(1, works_until_told);
    start_threads(2, spins);
    while (!shared->worker)
        usleep(100);
    child_is_ready(ready);
    spins(NULL);
    return 0;
}

static unsigned get_rounds(void)
{
    const char *s = getenv("PTRACED_TEST_ROUNDS");

    return s ? (unsigned)strtoul(s, NULL, 10) : 60;
}

static pid_t start(int (*child)(int))
{
    memset((void *)shared, 0, sizeof(*shared));
    return fixture_start(child);
}

/* A time that differs from round to round, up to half a millisecond. */
static void wait_a_moment(unsigned round)
{
    const uint64_t end = event_now_usec() + round * 37 % 3000;

    while (event_now_usec() < end)
        ;
}

static void kill_it(pid_t pid)
{
    kill(pid, SIGKILL);
}

static void tell_it(pid_t pid)
{
    shared->end = 1;
}

static const struct breakpoint_options *a_watch(void)
{
    static struct breakpoint_options o = {.kind = BREAKPOINT_WRITE, .size = 8, .report_only = true};

    o.address = (uint64_t)(uintptr_t)&shared->watched;
    return &o;
}

static const struct breakpoint_options *a_breakpoint(void)
{
    static struct breakpoint_options o;

    o = at(f_push);
    return &o;
}

static void set_while(struct fixture *f, int (*child)(int), pid_t tid, void (*act)(pid_t),
                      const struct breakpoint_options *o, unsigned round)
{
    struct attachment *a;
    pid_t pid = start(child);
    uint32_t id;
    int r;

    assert_int_equal(fixture_attach_with(f, f->session, pid, tid ? shared->worker : 0,
                                         &FILTER_DEFAULT, FOLLOW_THREADS),
                     1);
    a = session_find(f->session, pid);
    act(pid);
    wait_a_moment(round);
    r = breakpoint_add(f->trace, a, o, &id);
    if (r != 0 && r != -ESRCH && r != -ESTALE && r != -EFAULT && r != -EACCES)
        fail_msg("breakpoint_add() returns %d", r);
    fixture_serve_for(f, 2);
    a = session_find(f->session, pid);
    if (a && r == 0)
        (void)breakpoint_remove(f->trace, a, id);
    fixture_kill(f, pid);
    for (int msec = 0; msec < 1000 && !trace_is_idle(f->trace); msec++)
        fixture_serve_for(f, 1);
    assert_true(trace_is_idle(f->trace));
}

static void process_that_is_killed(void **state)
{
    for (unsigned i = 0; i < get_rounds(); i++) {
        set_while(*state, spins_until_killed, 0, kill_it, a_watch(), i);
        set_while(*state, spins_until_killed, 0, kill_it, a_breakpoint(), i);
    }
}

static void process_that_executes_another_program(void **state)
{
    for (unsigned i = 0; i < get_rounds(); i++) {
        set_while(*state, executes_when_told, 0, tell_it, a_watch(), i);
        set_while(*state, executes_when_told, 0, tell_it, a_breakpoint(), i);
    }
}

static void only_thread_of_the_session_that_ends(void **state)
{
    for (unsigned i = 0; i < get_rounds(); i++) {
        set_while(*state, has_a_worker_that_ends, 1, tell_it, a_watch(), i);
        set_while(*state, has_a_worker_that_ends, 1, tell_it, a_breakpoint(), i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(process_that_is_killed),
        TEST(process_that_executes_another_program),
        TEST(only_thread_of_the_session_that_ends),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared || !calling_share())
        return 1;
    return cmocka_run_group_tests_name("breakpoint-races", tests, NULL, NULL);
}
#endif
