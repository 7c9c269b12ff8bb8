/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/breakpoint-fixture.h"

/* What becomes of software breakpoints at a fork, a vfork and an exec. */

static volatile struct calling *shared;

static int forks_and_calls(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    if (fork() == 0)
        _exit(shared->call(41) == 42 ? 3 : 4);
    (void)wait((int *)&shared->child_status);
    shared->done = 1;
    for (;;)
        pause();
    return 0;
}

static int vforks_and_calls(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    if (vfork() == 0)
        _exit(shared->call(41) == 42 ? 3 : 4);
    (void)wait((int *)&shared->child_status);
    shared->calls[0] = (uint64_t)shared->call(41);
    shared->done = 1;
    for (;;)
        pause();
    return 0;
}

static void child_is_cleaned(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = calling_start(forks_and_calls, f_push);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add_breakpoint(f, pid, o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(WEXITSTATUS(shared->child_status), 3);
    assert_true(WIFEXITED(shared->child_status));
    fixture_kill(f, pid);
}

static void child_that_is_followed_keeps_its_breakpoints(void **state)
{
    const struct attach_options follow = {.follow_threads = true, .follow_children = true};
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = calling_start(forks_and_calls, f_push);
    const struct event *e;

    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &FILTER_DEFAULT, follow), 1);
    add_breakpoint(f, pid, o);
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_BREAKPOINT, 2000);
    assert_non_null(e);
    assert_int_not_equal(e->pid, pid);
    assert_int_equal(fixture_continue(f, f->session, e->pid, e->tid), 1);
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(WEXITSTATUS(shared->child_status), 3);
    fixture_kill(f, pid);
}

static void vfork_child_passes_its_parents_breakpoints_unseen(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;
    pid_t pid = calling_start(vforks_and_calls, f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add_breakpoint(f, pid, o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(WEXITSTATUS(shared->child_status), 3);
    assert_int_equal(shared->calls[0], 42);
    assert_int_equal(hits_of(f, pid, id), 1);
    fixture_kill(f, pid);
}

static int execs(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    execl("/bin/sleep", "sleep", "100", NULL);
    return 1;
}

static void exec_forgets_the_breakpoints(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = calling_start(execs, f_push);
    struct attachment *a;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add_breakpoint(f, pid, o);
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXEC, 2000));
    a = session_find(f->session, pid);
    assert_true(TAILQ_EMPTY(&a->breakpoints));
    assert_null(a->process->space);
    assert_int_equal(ledger_get_texts_used(f->ledger) > 0 ? ledger_get_text(f->ledger, 0)->pid : 0,
                     0);
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(child_is_cleaned),
        TEST(child_that_is_followed_keeps_its_breakpoints),
        TEST(vfork_child_passes_its_parents_breakpoints_unseen),
        TEST(exec_forgets_the_breakpoints),
#undef TEST
    };

    shared = calling_share();
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("breakpoint-children", tests, NULL, NULL);
}
