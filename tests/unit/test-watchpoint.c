/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/regs.h"
#include "tests/unit/trace-fixture.h"

/* Breakpoints of a session in debug registers. The tracees are forks of the test. */

#ifndef __x86_64__
int main(void)
{
    printf("skipped: debug registers are tested on x86_64\n");
    return 77;
}
#else

#define WRITERS 3

static volatile struct {
    int go;
    uint64_t watched;
    uint64_t neighbour;
    uint64_t read_to;
    uint64_t rounds;
    int late_thread;
    int child_status;
    int done;
    pid_t tids[WRITERS];
} * shared;

long watched_function(long);
__asm__(".text\n.type watched_function, @function\nwatched_function:\n"
        "lea 1(%rdi), %rax\nret\n.size watched_function, . - watched_function\n");

static void write_once(void)
{
    shared->neighbour++;
    shared->watched++;
    shared->neighbour++;
}

static void *writes(void *userdata)
{
    int me = (int)(intptr_t)userdata;

    shared->tids[me] = (pid_t)syscall(SYS_gettid);
    for (;;) {
        while (!shared->go)
            usleep(200);
        (void)__atomic_fetch_add(&shared->watched, 1, __ATOMIC_SEQ_CST);
        (void)__atomic_fetch_add(&shared->rounds, 1, __ATOMIC_SEQ_CST);
        usleep(100);
    }
    return NULL;
}

static int writes_when_told(int ready)
{
    child_is_ready(ready);
    for (;;) {
        while (shared->go == 0)
            usleep(200);
        shared->go--;
        write_once();
        shared->read_to = shared->watched;
        (void)watched_function(1);
        shared->rounds++;
    }
    return 0;
}

/* What the kernel makes of a debug exception that gives no reason; only to itself may a process
 * send it. */
static int traps_without_a_reason(int ready)
{
    siginfo_t info = {.si_signo = SIGTRAP, .si_code = TRAP_BRKPT};
    pid_t me = getpid();

    child_is_ready(ready);
    for (;;) {
        while (shared->go == 0)
            usleep(200);
        shared->go--;
        (void)syscall(SYS_rt_tgsigqueueinfo, me, me, SIGTRAP, &info);
        shared->rounds++;
    }
    return 0;
}

static int traps_itself(int ready)
{
    child_is_ready(ready);
    while (shared->go == 0)
        usleep(200);
    __asm__ volatile(".byte 0xf1"); /* icebp */
    return 0;
}

static int many_write(int ready)
{
    pthread_t thread;

    pthread_create(&thread, NULL, writes, (void *)1);
    while (!shared->tids[1])
        usleep(200);
    child_is_ready(ready);
    while (!shared->late_thread)
        usleep(200);
    pthread_create(&thread, NULL, writes, (void *)2);
    writes((void *)0);
    return 0;
}

static int forks_and_writes(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    if (fork() == 0) {
        write_once();
        _exit(3);
    }
    (void)wait((int *)&shared->child_status);
    shared->done = 1;
    for (;;)
        pause();
    return 0;
}

static pid_t start(int (*child)(int))
{
    memset((void *)shared, 0, sizeof(*shared));
    return fixture_start(child);
}

static struct breakpoint_options watch(enum breakpoint_kind kind, volatile uint64_t *address)
{
    return (struct breakpoint_options){
        .kind = kind, .address = (uint64_t)(uintptr_t)address, .size = 8};
}

static void write_is_told_after_it_was_made(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(writes_when_told);
    const struct event *e;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, watch(BREAKPOINT_WRITE, &shared->watched));
    shared->go = 2;
    for (uint64_t i = 1; i <= 2; i++) {
        e = fixture_find(f, f->session, EVENT_WATCHPOINT, 2000);
        assert_non_null(e);
        assert_true(e->stopped);
        assert_int_equal(e->breakpoint.id, id);
        assert_true(e->breakpoint.address == (uintptr_t)&shared->watched);
        assert_string_equal(e->breakpoint.access, "write");
        assert_int_equal(shared->watched, i);
        assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    }
    for (int i = 0; i < 200 && shared->rounds < 2; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->rounds, 2);
    assert_int_equal(hits_of(f, pid, id), 2);
    fixture_kill(f, pid);
}

static void read_counts_where_it_is_asked_for(void **state)
{
    struct breakpoint_options o = watch(BREAKPOINT_READ_WRITE, &shared->watched);
    struct fixture *f = *state;
    pid_t pid = start(writes_when_told);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    shared->go = 10;
    for (int i = 0; i < 500 && shared->rounds < 10; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->rounds, 10);
    assert_true(hits_of(f, pid, id) >= 20); /* a write and a read each time, at least */
    fixture_kill(f, pid);
}

static void execution_stops_before_the_instruction_and_passes_once(void **state)
{
    struct breakpoint_options o = {.kind = BREAKPOINT_HARDWARE,
                                   .address = (uintptr_t)watched_function};
    struct fixture *f = *state;
    pid_t pid = start(writes_when_told);
    uint64_t pc;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    shared->go = 3;
    for (uint64_t i = 0; i < 3; i++) {
        const struct event *e = fixture_find(f, f->session, EVENT_BREAKPOINT, 2000);

        assert_non_null(e);
        assert_int_equal(e->breakpoint.id, id);
        assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
        assert_true(pc == o.address);
        assert_int_equal(shared->rounds, i);
        assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    }
    for (int i = 0; i < 200 && shared->rounds < 3; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->rounds, 3);
    assert_int_equal(hits_of(f, pid, id), 3);
    fixture_kill(f, pid);
}

static void thread_that_appears_later_is_watched_too(void **state)
{
    struct breakpoint_options o = watch(BREAKPOINT_WRITE, &shared->watched);
    struct fixture *f = *state;
    pid_t pid = start(many_write);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    shared->late_thread = 1;
    shared->go = 1;
    fixture_serve_for(f, 100);
    shared->go = 0;
    fixture_serve_for(f, 30);
    assert_true(shared->tids[2] != 0);
    assert_true(shared->rounds > 10);
    /* Who has just been told of has still to count. */
    for (int i = 0; i < 200 && hits_of(f, pid, id) != shared->rounds; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(hits_of(f, pid, id), shared->rounds);
    fixture_kill(f, pid);
}

static void one_thread_alone_is_watched(void **state)
{
    struct breakpoint_options o = watch(BREAKPOINT_WRITE, &shared->watched);
    struct fixture *f = *state;
    pid_t pid = start(many_write);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    o.tid = shared->tids[1];
    id = add_breakpoint(f, pid, o);
    shared->go = 1;
    fixture_serve_for(f, 50);
    assert_true(hits_of(f, pid, id) > 0);
    shared->late_thread = 1; /* which makes two more that write */
    fixture_serve_for(f, 100);
    shared->go = 0;
    fixture_serve_for(f, 30);
    assert_true(hits_of(f, pid, id) < shared->rounds);
    fixture_kill(f, pid);
}

static void detached_program_runs_over_what_was_watched(void **state)
{
    struct breakpoint_options o = watch(BREAKPOINT_WRITE, &shared->watched);
    struct fixture *f = *state;
    uint64_t before;

    o.report_only = true;
    for (int i = 0; i < 10; i++) {
        pid_t pid = start(many_write);

        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        add_breakpoint(f, pid, o);
        shared->late_thread = shared->go = 1;
        fixture_serve_for(f, 10 + i);
        assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
        for (int k = 0; k < WRITERS; k++)
            if (shared->tids[k])
                assert_true(is_let_go(f, shared->tids[k]));
        before = shared->rounds;
        for (int msec = 0; msec < 2000 && shared->rounds == before; msec++)
            usleep(1000);
        assert_true(shared->rounds > before);
        fixture_kill(f, pid);
    }
}

static void watch_that_is_removed_costs_nothing_more(void **state)
{
    struct breakpoint_options o = watch(BREAKPOINT_WRITE, &shared->watched);
    struct fixture *f = *state;
    pid_t pid = start(many_write);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    shared->go = 1;
    fixture_serve_for(f, 20);
    assert_int_equal(drop_breakpoint(f, pid, id), 0);
    fixture_serve_for(f, 20);
    while (fixture_find(f, f->session, EVENT_WATCHPOINT, 1))
        ;
    assert_null(fixture_find(f, f->session, EVENT_WATCHPOINT, 30));
    fixture_kill(f, pid);
}

static void hit_whose_reason_got_lost_harms_nobody(void **state)
{
    struct breakpoint_options execute = {.kind = BREAKPOINT_HARDWARE,
                                         .address = (uintptr_t)watched_function};
    struct fixture *f = *state;
    pid_t pid = start(traps_without_a_reason);
    const struct event *e;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add_breakpoint(f, pid, execute);
    id = add_breakpoint(f, pid, watch(BREAKPOINT_WRITE, &shared->watched));
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_WATCHPOINT, 2000);
    assert_non_null(e);
    assert_int_equal(e->breakpoint.id, id);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(drop_breakpoint(f, pid, id), 0);
    shared->go = 1; /* as if the hit had been on its way when the watch went */
    for (int i = 0; i < 200 && shared->rounds < 2; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->rounds, 2);
    fixture_kill(f, pid);
}

static void icebp_of_the_program_stays_its_own_signal(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(traps_itself);
    const struct event *e;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add_breakpoint(f, pid, watch(BREAKPOINT_WRITE, &shared->watched));
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_KILLED, 2000);
    assert_non_null(e);
    assert_int_equal(e->end.signo, SIGTRAP);
}

static void child_that_is_followed_is_watched(void **state)
{
    const struct attach_options follow = {.follow_threads = true, .follow_children = true};
    struct fixture *f = *state;
    pid_t pid = start(forks_and_writes);
    const struct event *e;

    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &FILTER_DEFAULT, follow), 1);
    add_breakpoint(f, pid, watch(BREAKPOINT_WRITE, &shared->watched));
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_WATCHPOINT, 2000);
    assert_non_null(e);
    assert_int_not_equal(e->pid, pid);
    assert_int_equal(fixture_continue(f, f->session, e->pid, e->tid), 1);
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(WEXITSTATUS(shared->child_status), 3);
    fixture_kill(f, pid);
}

static void fifth_watch_and_odd_ones_are_refused(void **state)
{
    struct breakpoint_options o = watch(BREAKPOINT_WRITE, &shared->watched);
    struct fixture *f = *state;
    pid_t pid = start(writes_when_told);
    struct attachment *a;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    a = session_find(f->session, pid);
    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++) {
        add_breakpoint(f, pid, o);
        o.address += 8;
    }
    assert_int_equal(breakpoint_add(f->trace, a, &o, &id), -ENOSPC);
    o.address -= 8;
    add_breakpoint(f, pid, o); /* the same slot once more */
    o.address += 1;
    assert_int_equal(breakpoint_add(f->trace, a, &o, &id), -EINVAL);
    o.size = 3;
    assert_int_equal(breakpoint_add(f->trace, a, &o, &id), -EINVAL);
    o.size = 8;
    o.address = UINT64_C(1) << 63;
    assert_int_equal(breakpoint_add(f->trace, a, &o, &id), -EFAULT);
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(write_is_told_after_it_was_made),
        TEST(read_counts_where_it_is_asked_for),
        TEST(execution_stops_before_the_instruction_and_passes_once),
        TEST(thread_that_appears_later_is_watched_too),
        TEST(one_thread_alone_is_watched),
        TEST(detached_program_runs_over_what_was_watched),
        TEST(watch_that_is_removed_costs_nothing_more),
        TEST(hit_whose_reason_got_lost_harms_nobody),
        TEST(icebp_of_the_program_stays_its_own_signal),
        TEST(child_that_is_followed_is_watched),
        TEST(fifth_watch_and_odd_ones_are_refused),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("watchpoint", tests, NULL, NULL);
}
#endif
