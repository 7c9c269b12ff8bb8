/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/procfs.h"
#include "daemon/trace/wait.h"
#include "tests/unit/trace-fixture.h"

/* What happens while a thread that is not the leader is in execve(2): the other threads are killed
 * one after another, and it takes over the leader's id. The tests decide each moment themselves. */

/* Shared with the tracee. */
struct shared {
    volatile int may_exec;
    volatile int may_fork;
    volatile pid_t execer;
    volatile pid_t forker;
};

static struct shared *shared;

static void *execs(void *unused)
{
    shared->execer = (pid_t)syscall(SYS_gettid);
    while (!shared->may_exec)
        usleep(500);
    execl("/bin/sleep", "sleep", "100", NULL);
    _exit(98);
}

/* Not through libc, whose own locks and handlers are none of this test's business. */
static void *forks(void *unused)
{
    shared->forker = (pid_t)syscall(SYS_gettid);
    while (!shared->may_fork)
        usleep(500);
    if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0)
        for (;;)
            pause();
    for (;;)
        pause();
    return NULL;
}

static int leader(int ready)
{
    pthread_t thread;

    pthread_create(&thread, NULL, forks, NULL);
    pthread_create(&thread, NULL, execs, NULL);
    while (!shared->execer || !shared->forker)
        usleep(500);
    child_is_ready(ready);
    for (;;)
        pause();
    return 0;
}

static pid_t start(void)
{
    memset(shared, 0, sizeof(*shared));
    return fixture_start(leader);
}

/* Serves everything before the first report of that kind, which stays. */
static bool serve_until(struct fixture *f, enum stop_kind kind)
{
    for (int msec = 0; msec < 3000; msec++) {
        siginfo_t report;
        struct stop stop;

        while (trace_next(f->trace, WNOHANG, &report) > 0) {
            stop_decode(&report, &stop);
            if (stop.kind == kind)
                return true;
            trace_dispatch(f->trace, &report);
        }
        usleep(1000);
    }
    return false;
}

static void detach_when_an_exec_is_still_to_be_told(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start();

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    shared->may_exec = 1;
    assert_true(serve_until(f, STOP_EXEC));
    /* The thread's old id is gone and the leader is past its exit: there is nobody to wait for. A
     * detach that waits all the same ends with the test's time-out. */
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_true(is_let_go(f, pid));
    assert_true(trace_is_idle(f->trace));
    fixture_kill(f, pid);
}

static void interrupt_of_a_thread_in_execve_takes_effect(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start();
    const struct event *e;

    /* The leader is held in its exit stop, so that the exec cannot go on. */
    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_EXIT)), 1);
    shared->may_exec = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXIT, 2000));
    fixture_serve(f, 50);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, shared->execer), 1);
    fixture_continue(f, f->session, pid, shared->forker);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    e = fixture_find(f, f->session, EVENT_STOP, 2000);
    assert_non_null(e);
    assert_int_equal(e->tid, pid);
    assert_true(e->stopped);
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    fixture_kill(f, pid);
}

static bool is_running_sleep(pid_t pid)
{
    char comm[PROC_COMM_MAX];

    for (int msec = 0; msec < 1000; msec++) {
        if (proc_read_comm(pid, comm) >= 0 && strcmp(comm, "sleep") == 0)
            return true;
        usleep(1000);
    }
    return false;
}

static pid_t only_child(pid_t pid, pid_t tid)
{
    char path[64];
    pid_t child = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, tid);
    for (int msec = 0; msec < 2000 && child == 0; msec++) {
        usleep(1000);
        file = fopen(path, "re");
        if (!file)
            continue;
        if (fscanf(file, "%d", &child) != 1)
            child = 0;
        fclose(file);
    }
    return child;
}

static void child_whose_creator_an_exec_killed_runs_on(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(), child;
    siginfo_t report;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    shared->may_fork = 1;
    child = only_child(pid, shared->forker);
    assert_true(child > 0);
    assert_true(becomes(child, 't'));
    assert_true(becomes(shared->forker, 't'));
    /* The child reports first, and before its creator is heard, another thread calls exec. */
    assert_int_equal(wait_thread(child, WNOHANG | WNOWAIT, &report), 1);
    trace_dispatch(f->trace, &report);
    assert_false(TAILQ_EMPTY(&f->trace->strays));
    shared->may_exec = 1;
    usleep(100000);

    assert_non_null(fixture_find(f, f->session, EVENT_EXEC, 2000));
    assert_true(is_let_go(f, child));
    assert_true(becomes(child, 'S'));
    assert_true(TAILQ_EMPTY(&f->trace->strays));
    kill(child, SIGKILL);
    fixture_kill(f, pid);
}

/* The kernel attaches under a lock that the execve holds until the threads that we trace are gone,
 * and these wait for us. */
static int attach_one(struct fixture *f, pid_t pid, pid_t tid, uint32_t stops)
{
    struct filter filter = FILTER_DEFAULT;

    filter.stops = stops;
    return fixture_attach_with(f, f->session, pid, tid, &filter, (struct attach_options){0});
}

static void attach_to_a_process_in_execve_does_not_hang(void **state)
{
    struct session *second;
    struct fixture *f = *state;
    pid_t pid = start();

    second = session_new(f->trace, 1024, true, NULL);
    assert_non_null(second);
    assert_int_equal(attach_one(f, pid, shared->forker, 0), 1);
    shared->may_exec = 1;
    assert_true(becomes(shared->forker, 't'));
    assert_int_equal(fixture_attach(f, second, pid, 0), 1);
    assert_true(is_running_sleep(pid));
    assert_int_equal(proc_tracer(pid), getpid());
    assert_int_equal(trace_detach(f->trace, second, pid, 0), 1);
    assert_true(is_let_go(f, pid));
    fixture_kill(f, pid);
}

static void attach_gives_up_when_the_execve_does_not_end(void **state)
{
    struct session *second;
    struct fixture *f = *state;
    pid_t pid = start();

    second = session_new(f->trace, 1024, true, NULL);
    assert_non_null(second);
    assert_int_equal(attach_one(f, pid, shared->forker, EVENT_BIT(EVENT_EXIT)), 1);
    shared->may_exec = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXIT, 2000));
    assert_int_equal(fixture_attach(f, second, pid, 0), -ETIMEDOUT);
    assert_null(session_find(second, pid));
    assert_null(event_queue_find(&second->queue, 0, 0));
    assert_int_equal(fixture_continue(f, f->session, pid, shared->forker), 1);
    fixture_serve(f, 50);
    assert_true(is_running_sleep(pid));
    fixture_kill(f, pid);
}

static void new_program_of_an_untraced_thread_is_attached_anew(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start();

    /* Of the leader alone we hear its exit, and nothing when the exec takes over its id. */
    assert_int_equal(attach_one(f, pid, pid, 0), 1);
    shared->may_exec = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXIT, 2000));
    fixture_serve(f, 50);
    assert_true(is_running_sleep(pid));
    assert_int_equal(proc_tracer(pid), 0);
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(proc_tracer(pid), getpid());
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    assert_true(becomes(pid, 't'));
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    fixture_kill(f, pid);
}

/* The thread that calls exec does not stop before its end; as leader it does. */
static void leader_stops_at_its_exit_after_an_exec_by_a_thread(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start();

    filter.report &= ~EVENT_BIT(EVENT_EXIT);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    fixture_continue(f, f->session, pid, 0);
    assert_false(tidmap_get(&f->trace->tids, shared->execer)->stops_at_exit);
    assert_true(tidmap_get(&f->trace->tids, pid)->stops_at_exit);
    shared->may_exec = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXEC, 2000));
    kill(pid, SIGKILL);
    for (;;) {
        siginfo_t report;

        assert_int_equal(wait_thread(pid, WNOWAIT, &report), 1);
        if (report.si_code == CLD_TRAPPED && report.si_status >> 8 == PTRACE_EVENT_EXIT)
            break;
        assert_int_equal(report.si_code, CLD_TRAPPED); /* else it ended without */
        trace_dispatch(f->trace, &report);
    }
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(detach_when_an_exec_is_still_to_be_told),
        TEST(interrupt_of_a_thread_in_execve_takes_effect),
        TEST(child_whose_creator_an_exec_killed_runs_on),
        TEST(attach_to_a_process_in_execve_does_not_hang),
        TEST(attach_gives_up_when_the_execve_does_not_end),
        TEST(new_program_of_an_untraced_thread_is_attached_anew),
        TEST(leader_stops_at_its_exit_after_an_exec_by_a_thread),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("trace-exec", tests, NULL, NULL);
}
