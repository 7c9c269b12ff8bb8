/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>

#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"
#include "tests/unit/hardware-fixture.h"

/* Debug registers in the life of a real thread: new, cloned, executing, let go. No root. */

/* The new thread stands in its first stop. */
static pid_t run_to_thread(struct scene *s)
{
    unsigned long tid;
    siginfo_t info;

    scene_order(s, START_THREAD, 0);
    assert_int_equal(thread_resume(s->child.pid), SIGTRAP | PTRACE_EVENT_CLONE << 8);
    assert_return_code(ptrace_ops_get_event_message(s->child.pid, &tid), 0);
    assert_int_equal(wait_thread((pid_t)tid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    return (pid_t)tid;
}

static void a_new_thread_has_none_until_it_is_synced(void **state)
{
    struct scene *s = scene_start(state);

    scene_add(s, buffer + 8, 4, HARDWARE_WRITE);
    scene_sync(s);
    for (int synced = 0; synced < 2; synced++) {
        pid_t tid = run_to_thread(s);
        uint32_t known = 0;
        siginfo_t info;

        if (synced) {
            assert_return_code(hardware_sync(&s->hardware, tid, &known), 0);
            assert_int_equal(thread_resume(tid), SIGTRAP);
            thread_assert_hit(tid, 1, false);
        }
        assert_return_code(ptrace_ops_cont(tid, 0), 0);
        assert_int_equal(wait_thread(tid, 0, &info), 1);
        assert_int_equal(info.si_code, CLD_EXITED);
        assert_int_equal(thread_resume(s->child.pid), SIGUSR1);
    }
}

static void a_fork_child_has_none(void **state)
{
    struct scene *s = scene_start(state);

    scene_add(s, buffer + 8, 4, HARDWARE_WRITE);
    scene_sync(s);
    scene_order(s, FORK, 0); /* the child of which SIGTRAP would kill */
    assert_int_equal(thread_resume(s->child.pid), SIGCHLD);
    assert_int_equal(thread_resume(s->child.pid), SIGUSR1);
    scene_expect(s, WRITE, 8, 1);
}

static void ends(struct scene *s, int code, int status)
{
    siginfo_t info;

    assert_int_equal(wait_thread(s->child.pid, 0, &info), 1);
    s->child.pid = 0;
    if (info.si_code == CLD_DUMPED)
        info.si_code = CLD_KILLED;
    assert_int_equal(info.si_code, code);
    assert_int_equal(info.si_status, status);
}

static void an_exec_takes_them_away(void **state)
{
    struct scene *s = scene_start(state);
    unsigned long address;

    scene_add(s, buffer + 8, 4, HARDWARE_WRITE);
    scene_sync(s);
    scene_order(s, EXEC, 0);
    assert_int_equal(thread_resume(s->child.pid), SIGTRAP | PTRACE_EVENT_EXEC << 8);
    assert_return_code(
        ptrace_ops_peek_user(s->child.pid, offsetof(struct user, u_debugreg), &address), 0);
    assert_int_equal(address, 0);
    hardware_remove(&s->hardware, 0);
    scene_sync(s); /* the old generation is no harm */
    assert_return_code(ptrace_ops_cont(s->child.pid, 0), 0);
    ends(s, CLD_EXITED, 0);
}

/* The child writes and then ends, with nobody there to take its signals. */
static int writes_and_ends(void)
{
    child_waits_for_test();
    raise(SIGUSR1);
    buffer[8] = 1;
    return 7;
}

static void a_thread_runs_on_over_the_variable_once_it_is_cleared(void **state)
{
    struct scene *s = *state;

    for (int cleared = 0; cleared < 2; cleared++) {
        s->known = 0;
        scene_start_function(s, writes_and_ends);
        if (!cleared)
            scene_add(s, buffer + 8, 1, HARDWARE_WRITE);
        scene_sync(s);
        if (cleared) {
            assert_return_code(hardware_clear(s->child.pid, &s->known), 0);
            assert_int_equal(s->known, 0);
        }
        assert_return_code(ptrace_ops_detach(s->child.pid, 0), 0);
        /* Left in place they outlive the detach, and kill: the reason for all this. */
        ends(s, cleared ? CLD_EXITED : CLD_KILLED, cleared ? 7 : SIGTRAP);
    }
}

static void clearing_leaves_no_trace(void **state)
{
    struct scene *s = scene_start(state);
    unsigned long word;

    scene_add(s, buffer + 8, 1, HARDWARE_WRITE);
    scene_add(s, buffer + 16, 8, HARDWARE_READ_WRITE);
    scene_sync(s);
    scene_order(s, WRITE, 8);
    assert_int_equal(thread_resume(s->child.pid), SIGTRAP);
    s->known = UINT32_MAX; /* what a guardian knows */
    assert_return_code(hardware_clear(s->child.pid, &s->known), 0);
    for (size_t i = 0; i < 8; i++) {
        const size_t offset = offsetof(struct user, u_debugreg[i]);

        if (i == 4 || i == 5)
            continue;
        assert_return_code(ptrace_ops_peek_user(s->child.pid, offset, &word), 0);
        assert_int_equal(word, i == 6 ? 0xffff0ff0 : 0);
    }
    scene_sync(s); /* and they can come back */
    assert_int_equal(thread_resume(s->child.pid), SIGUSR1);
    scene_expect(s, WRITE, 16, 2);
}

static void assert_refused(struct scene *s, pid_t tid)
{
    uint32_t known = 1, mask = 77;
    bool stepped;

    assert_int_equal(hardware_sync(&s->hardware, tid, &known), -ESRCH);
    assert_int_equal(hardware_clear(tid, &known), -ESRCH);
    assert_int_equal(known, 1);
    assert_int_equal(hardware_read_hits(tid, &mask, &stepped), -ESRCH);
    assert_int_equal(mask, 77);
}

static void a_thread_that_runs_or_is_gone_is_told(void **state)
{
    struct scene *s = *state;
    pid_t tid;

    scene_add(s, buffer + 8, 1, HARDWARE_WRITE);
    scene_add(s, buffer + 9, 1, HARDWARE_WRITE);
    child_start_function(&s->child, writes_and_ends);
    tid = s->child.pid;
    assert_refused(s, tid);
    kill(tid, SIGKILL);
    ends(s, CLD_KILLED, SIGKILL);
    assert_refused(s, tid);
}

/* Another user of the registers, who takes them all; a failure: may not, or has none. */
static int take_with_perf(pid_t tid, int fds[HARDWARE_SLOTS_MAX])
{
    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++) {
        struct perf_event_attr attr = {
            .type = PERF_TYPE_BREAKPOINT,
            .size = sizeof(attr),
            .bp_type = HW_BREAKPOINT_W,
            .bp_addr = (uintptr_t)buffer + 32 + i,
            .bp_len = HW_BREAKPOINT_LEN_1,
            .sample_period = 1,
            .exclude_kernel = 1,
            .exclude_hv = 1,
        };

        fds[i] = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
        if (fds[i] < 0)
            return -errno;
    }
    return 0;
}

static void registers_that_perf_has_are_refused_until_it_gives_them_back(void **state)
{
    struct scene *s = scene_start(state);
    int fds[HARDWARE_SLOTS_MAX] = {-1, -1, -1, -1}, r;

    r = take_with_perf(s->child.pid, fds);
    if (r == 0) {
        scene_add(s, buffer + 8, 1, HARDWARE_WRITE);
        assert_int_equal(hardware_sync(&s->hardware, s->child.pid, &s->known), -ENOSPC);
        assert_int_equal(s->known, 0);
        scene_expect(s, WRITE, 8, 0);
    }
    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (r < 0) {
        print_message("perf's breakpoints cannot be had: skipped\n");
        skip();
    }
    scene_sync(s);
    scene_expect(s, WRITE, 8, 1);
}

/* Not even asked: it need not stand, nor be. */
static void nothing_is_written_while_nothing_is_set(void **state)
{
    struct hardware h = {0};
    uint32_t known = 0;

    assert_return_code(hardware_sync(&h, INT32_MAX, &known), 0);
    assert_return_code(hardware_clear(INT32_MAX, &known), 0);
    assert_int_equal(hardware_add(&h, 0x1000, 1, HARDWARE_WRITE, 0), 0);
    hardware_remove(&h, 0);
    assert_return_code(hardware_sync(&h, INT32_MAX, &known), 0);
    assert_int_equal(known, h.generation);
}

#define test(f) cmocka_unit_test_setup_teardown(f, scene_setup, scene_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_new_thread_has_none_until_it_is_synced),
        test(a_fork_child_has_none),
        test(an_exec_takes_them_away),
        test(a_thread_runs_on_over_the_variable_once_it_is_cleared),
        test(clearing_leaves_no_trace),
        test(a_thread_that_runs_or_is_gone_is_told),
        test(registers_that_perf_has_are_refused_until_it_gives_them_back),
        cmocka_unit_test(nothing_is_written_while_nothing_is_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
