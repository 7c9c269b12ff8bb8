/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"
#include "tests/unit/trace-fixture.h"

/* Names that programs give themselves: each must be read as it is, and none may be taken for
 * another field. */
static const char *const names[] = {
    "a b",
    "(x) R 1 2 3",
    ") Z 1 (",
    "))))((((",
    "\n",
    "two\nlines",
    "x\nState:\tZ\nA:\t",
    "a\\nb\\",
    "\t tab \t",
    "\xff\xfe\x80 no",
    "gr\xc3\xbc\xc3\x9f",
    "123456789012345", /* the longest */
    "12345678901234\n",
    "",
};

static const char *name_to_take;

static int takes_a_name(int ready)
{
    prctl(PR_SET_NAME, name_to_take);
    child_is_ready(ready);
    while (pause() < 0)
        ;
    return 0;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static pid_t start_named(const char *name)
{
    name_to_take = name;
    return fixture_start(takes_a_name);
}

static void comm_is_read_byte_for_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        pid_t pid = start_named(names[i]);
        char comm[PROC_COMM_MAX];

        assert_return_code(proc_read_comm(pid, comm), 0);
        assert_string_equal(comm, names[i]);
        end(pid);
    }
}

static void comm_that_is_too_long_was_cut_by_the_kernel(void **state)
{
    pid_t pid = start_named("1234567890123456789");
    char comm[PROC_COMM_MAX];

    assert_return_code(proc_read_comm(pid, comm), 0);
    assert_string_equal(comm, "123456789012345");
    end(pid);
}

static void no_comm_can_forge_a_field(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        pid_t pid = start_named(names[i]);
        struct proc_status status;
        struct proc_stat stat;

        assert_true(becomes(pid, 'S'));
        assert_return_code(proc_read_status(pid, &status), 0);
        assert_int_equal(status.state, 'S');
        assert_int_equal(status.tgid, pid);
        assert_int_equal(status.ppid, getpid());
        assert_return_code(proc_read_stat(pid, pid, &stat), 0);
        assert_int_equal(stat.state, 'S');
        assert_int_equal(stat.exit_code, 0);
        end(pid);
    }
}

static uint64_t own_permitted(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    assert_return_code(syscall(SYS_capget, &header, data), errno);
    return (uint64_t)data[1].permitted << 32 | data[0].permitted;
}

static void own_status_agrees_with_the_system_calls(void **state)
{
    struct proc_status s;
    uid_t uids[3];
    gid_t gids[3];

    assert_return_code(proc_read_status(getpid(), &s), 0);
    assert_int_equal(s.state, 'R');
    assert_int_equal(s.tgid, getpid());
    assert_int_equal(s.ppid, getppid());
    assert_return_code(getresuid(&uids[0], &uids[1], &uids[2]), errno);
    assert_return_code(getresgid(&gids[0], &gids[1], &gids[2]), errno);
    assert_memory_equal(s.uids, uids, sizeof(uids));
    assert_memory_equal(s.gids, gids, sizeof(gids));
    assert_int_equal(s.uids[3], (uid_t)setfsuid((uid_t)-1)); /* changes nothing, tells the old */
    assert_int_equal(s.gids[3], (gid_t)setfsgid((gid_t)-1));
    assert_int_equal(s.permitted, own_permitted());
}

/* The four numbers are all different, so that none can be taken for another. */
static int has_four_users(int ready)
{
    if (setgroups(0, NULL) < 0 || setresgid(201, 202, 203) < 0 || setfsgid(204) < 0 ||
        prctl(PR_SET_KEEPCAPS, 1) < 0 || setresuid(101, 102, 103) < 0)
        return 1;
    setfsuid(102);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* which a change of users clears */
    child_is_ready(ready);
    while (pause() < 0)
        ;
    return 0;
}

static void each_of_the_four_ids_is_told(void **state)
{
    static const uid_t uids[] = {101, 102, 103, 102};
    static const gid_t gids[] = {201, 202, 203, 204};
    struct proc_status s;
    pid_t pid;

    if (geteuid() != 0)
        skip();
    pid = fixture_start(has_four_users);
    assert_return_code(proc_read_status(pid, &s), 0);
    assert_memory_equal(s.uids, uids, sizeof(uids));
    assert_memory_equal(s.gids, gids, sizeof(gids));
    end(pid);
}

/* Members of many groups, as a directory service makes them: the line of groups is long. */
static int is_in_many_groups(int ready)
{
    enum { GROUPS = 4000 };
    gid_t groups[GROUPS];

    for (gid_t i = 0; i < GROUPS; i++)
        groups[i] = 1000000000 + i;
    if (setgroups(GROUPS, groups) < 0)
        return 1;
    child_is_ready(ready);
    while (pause() < 0)
        ;
    return 0;
}

static void member_of_many_groups_has_a_status_too(void **state)
{
    struct proc_status s;
    pid_t pid;

    if (geteuid() != 0)
        skip();
    pid = fixture_start(is_in_many_groups);
    assert_return_code(proc_read_status(pid, &s), 0);
    assert_int_equal(s.tgid, pid);
    assert_int_equal(s.permitted, own_permitted());
    end(pid);
}

static int sleeps(int ready)
{
    child_is_ready(ready);
    while (pause() < 0)
        ;
    return 0;
}

static void tracer_of_a_traced_process_is_told(void **state)
{
    pid_t pid = fixture_start(sleeps);
    struct proc_status s;

    assert_return_code(proc_read_status(pid, &s), 0);
    assert_int_equal(s.tracer, 0);
    assert_return_code(ptrace_ops_seize(pid, 0), 0);
    assert_return_code(proc_read_status(pid, &s), 0);
    assert_int_equal(s.tracer, getpid());
    end(pid);
}

static void exit_code_tells_a_stop_that_nobody_has_collected(void **state)
{
    pid_t pid = fixture_start(sleeps);
    struct proc_stat s;
    siginfo_t wait;

    assert_return_code(ptrace_ops_seize(pid, 0), 0);
    kill(pid, SIGUSR1);
    assert_true(becomes(pid, 't'));
    assert_return_code(proc_read_stat(pid, pid, &s), 0);
    assert_int_equal(s.state, 't');
    assert_int_equal(s.exit_code, SIGUSR1);
    assert_int_equal(wait_thread(pid, 0, &wait), 1);
    assert_return_code(proc_read_stat(pid, pid, &s), 0);
    assert_int_equal(s.state, 't');
    assert_int_equal(s.exit_code, 0);
    end(pid);
}

static void kernel_thread_has_its_flag(void **state)
{
    char comm[PROC_COMM_MAX];
    struct proc_stat s;

    assert_return_code(proc_read_stat(getpid(), getpid(), &s), 0);
    assert_false(s.flags & PROC_FLAG_KTHREAD);
    if (proc_read_comm(2, comm) < 0 || strcmp(comm, "kthreadd") != 0)
        skip(); /* in a container */
    assert_return_code(proc_read_stat(2, 2, &s), 0);
    assert_true(s.flags & PROC_FLAG_KTHREAD);
}

struct helper {
    pthread_t thread;
    pthread_barrier_t barrier;
    pid_t tid;
};

static void *tells_its_tid(void *userdata)
{
    struct helper *h = userdata;

    h->tid = gettid();
    prctl(PR_SET_NAME, "helper (1)");
    pthread_barrier_wait(&h->barrier);
    pthread_barrier_wait(&h->barrier);
    return NULL;
}

static void start_thread(struct helper *h)
{
    assert_int_equal(pthread_barrier_init(&h->barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&h->thread, NULL, tells_its_tid, h), 0);
    pthread_barrier_wait(&h->barrier);
}

static void end_thread(struct helper *h)
{
    pthread_barrier_wait(&h->barrier);
    pthread_join(h->thread, NULL);
    pthread_barrier_destroy(&h->barrier);
}

static int count_and_find(pid_t tid, void *userdata)
{
    pid_t *wanted = userdata;

    if (tid == *wanted)
        *wanted = 0;
    return 0;
}

static int stop_at_first(pid_t tid, void *userdata)
{
    (*(int *)userdata)++;
    return -ECANCELED;
}

/* pthread_join() returns when the kernel has cleared the thread's id in memory (exit_mm()), which
 * is a moment before the thread leaves /proc (release_task()). */
static bool leaves_its_process(pid_t tid)
{
    for (unsigned msec = 0; msec < 1000; msec++) {
        if (!proc_is_thread_of(getpid(), tid))
            return true;
        usleep(1000);
    }
    return false;
}

static void thread_belongs_to_its_process(void **state)
{
    struct proc_status status;
    char comm[PROC_COMM_MAX];
    struct proc_stat stat;
    struct helper h;
    pid_t wanted;
    int calls = 0;

    start_thread(&h);
    assert_return_code(proc_read_status(h.tid, &status), 0);
    assert_int_equal(status.tgid, getpid());
    assert_return_code(proc_read_stat(getpid(), h.tid, &stat), 0);
    assert_return_code(proc_read_comm(h.tid, comm), 0);
    assert_string_equal(comm, "helper (1)");
    assert_true(proc_is_thread_of(getpid(), h.tid));
    assert_true(proc_is_thread_of(getpid(), getpid()));
    assert_false(proc_is_thread_of(getppid(), h.tid));

    wanted = h.tid;
    assert_int_equal(proc_for_each_thread(getpid(), count_and_find, &wanted), 0);
    assert_int_equal(wanted, 0);
    assert_int_equal(proc_for_each_thread(getpid(), stop_at_first, &calls), -ECANCELED);
    assert_int_equal(calls, 1);
    end_thread(&h);
    assert_true(leaves_its_process(h.tid));
}

static void process_that_is_gone_is_no_such_process(void **state)
{
    pid_t pid = fixture_start(sleeps), wanted = 0;
    struct proc_status status = {.tgid = 12};
    struct proc_stat stat = {.state = '!'};
    char comm[PROC_COMM_MAX] = "untouched";

    end(pid);
    assert_int_equal(proc_read_status(pid, &status), -ESRCH);
    assert_int_equal(proc_read_stat(pid, pid, &stat), -ESRCH);
    assert_int_equal(proc_read_comm(pid, comm), -ESRCH);
    assert_int_equal(proc_for_each_thread(pid, count_and_find, &wanted), -ESRCH);
    assert_false(proc_is_thread_of(pid, pid));
    assert_int_equal(status.tgid, 12);
    assert_int_equal(stat.state, '!');
    assert_string_equal(comm, "untouched");
}

static void zombie_is_still_there(void **state)
{
    pid_t pid = fixture_start(sleeps);
    struct proc_status s;

    kill(pid, SIGKILL);
    assert_true(becomes(pid, 'Z'));
    assert_return_code(proc_read_status(pid, &s), 0);
    assert_int_equal(s.tgid, pid);
    assert_true(proc_is_thread_of(pid, pid));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comm_is_read_byte_for_byte),
        cmocka_unit_test(comm_that_is_too_long_was_cut_by_the_kernel),
        cmocka_unit_test(no_comm_can_forge_a_field),
        cmocka_unit_test(own_status_agrees_with_the_system_calls),
        cmocka_unit_test(each_of_the_four_ids_is_told),
        cmocka_unit_test(member_of_many_groups_has_a_status_too),
        cmocka_unit_test(tracer_of_a_traced_process_is_told),
        cmocka_unit_test(exit_code_tells_a_stop_that_nobody_has_collected),
        cmocka_unit_test(kernel_thread_has_its_flag),
        cmocka_unit_test(thread_belongs_to_its_process),
        cmocka_unit_test(process_that_is_gone_is_no_such_process),
        cmocka_unit_test(zombie_is_still_there),
    };

    alarm(60);
    return cmocka_run_group_tests_name("procfs", tests, NULL, NULL);
}
