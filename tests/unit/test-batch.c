/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/batch.h"
#include "tests/unit/trace-fixture.h"

/* The scheduling class that a tracer takes while it waits for many threads, and how it is rid of
 * it. Who may not take it has nothing to test. */

#define POLICY (sched_getscheduler(0) & ~SCHED_RESET_ON_FORK)

static int sleeps(int ready)
{
    child_is_ready(ready);
    for (;;)
        pause();
    return 0;
}

/* What a process has left that got the right from RLIMIT_RTPRIO. */
static int drop_the_right(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    data[0].effective &= ~(1U << CAP_SYS_NICE);
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int lowers_without_the_right(struct trace *t)
{
    struct batch b;
    int before = sched_getscheduler(0), after;

    batch_begin(&b, t);
    if (!b.raised)
        return 77;
    if (POLICY != SCHED_FIFO || drop_the_right() < 0)
        return 99;
    batch_end(&b);
    after = sched_getscheduler(0);
    return after == (before | SCHED_RESET_ON_FORK) ? 0 : 1;
}

static void class_is_lowered_without_the_right_to_clear_reset_on_fork(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(lowers_without_the_right(f->trace));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void class_is_taken_and_lowered_time_and_again(void **state)
{
    struct fixture *f = *state;
    const int before = POLICY;

    for (int i = 0; i < 3; i++) {
        struct batch b;

        batch_begin(&b, f->trace);
        if (!b.raised) {
            batch_end(&b);
            assert_int_equal(i, 0);
            skip();
        }
        assert_int_equal(POLICY, SCHED_FIFO);
        batch_end(&b);
        assert_int_equal(POLICY, before);
    }
}

/* Each wait finds a report at once, so that none is ever interrupted by a tick. */
static void time_at_raised_class_counts_though_nothing_is_waited_for(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(sleeps);
    uint64_t end = event_now_usec() + BATCH_RAISED_USEC + 200 * 1000;
    struct batch b;
    const int before = POLICY;
    bool raised;
    int policy;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    batch_begin(&b, f->trace);
    raised = b.raised;
    while (event_now_usec() < end) {
        assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
        assert_true(becomes(pid, 't'));
        batch_collect(&b, pid);
        assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    }
    policy = POLICY;
    batch_end(&b);
    fixture_kill(f, pid);
    if (!raised)
        skip();
    assert_int_equal(policy, before);
}

/* Its tenth of what passes, and not more. */
static void time_at_raised_class_is_shared_out_where_somebody_traces_by_a_grant(void **state)
{
    struct fixture *f = *state;
    uint64_t raised = 0, began = event_now_usec(), passed;
    bool is_lowered = false;
    struct grant *g = grant_new(NULL, 0, NULL, 0);

    assert_non_null(g);
    batch_begin_to_share(f->trace, g);
    grant_unref(g);
    do {
        uint64_t now = event_now_usec();
        struct batch b;

        batch_begin(&b, f->trace);
        if (!b.raised && raised == 0) {
            batch_end(&b);
            skip();
        }
        while (event_now_usec() < now + 20 * 1000)
            batch_bound(&b);
        is_lowered |= !b.raised;
        raised += b.raised ? 20 * 1000 : 0;
        batch_end(&b);
        passed = event_now_usec() - began;
    } while (passed < 2000 * 1000);
    assert_true(is_lowered);
    assert_in_range(raised, 1, BATCH_RAISED_FIRST_USEC + passed / BATCH_RAISED_SHARE + 40 * 1000);
    /* It comes back. */
    assert_true(batch_raised_left(f->trace, event_now_usec() + 20000 * 1000) > 150 * 1000);
    f->trace->by_grant = false;
    assert_int_equal(batch_raised_left(f->trace, event_now_usec()), BATCH_RAISED_USEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(class_is_lowered_without_the_right_to_clear_reset_on_fork),
        TEST(class_is_taken_and_lowered_time_and_again),
        TEST(time_at_raised_class_counts_though_nothing_is_waited_for),
        TEST(time_at_raised_class_is_shared_out_where_somebody_traces_by_a_grant),
#undef TEST
    };

    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
