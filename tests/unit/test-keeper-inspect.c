/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/keeper/inspect.h"

#define OTHER_ID 1234u

static int open_pidfd(pid_t pid, unsigned flags)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, flags);

    if (flags == 0)
        assert_true(fd >= 0);
    return fd;
}

/* A child that has run `prepare` and then waits to be killed. */
static pid_t start_child(void (*prepare)(int ready_fd))
{
    pid_t pid;
    int gate[2];
    char byte;

    assert_int_equal(pipe(gate), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prepare(gate[1]);
        (void)!write(gate[1], "", 1);
        for (;;)
            pause();
    }
    close(gate[1]);
    assert_int_equal(read(gate[0], &byte, 1), 1);
    close(gate[0]);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, __WALL), pid);
}

static void do_nothing(int ready_fd)
{
}

static void test_self(void **state)
{
    struct inspection i = {0};
    struct stat st;
    int fd = open_pidfd(getpid(), 0);

    assert_int_equal(inspect(fd, 0, &i), 0);
    assert_int_equal(i.pid, getpid());
    assert_int_equal(i.parent, getppid());
    assert_int_equal(i.uids[1], geteuid());
    assert_int_equal(i.gids[1], getegid());
    assert_false(i.kernel_thread);
    assert_false(i.zombie);
    assert_non_null(i.executable);
    assert_non_null(strstr(i.executable, "test-keeper-inspect"));
    assert_int_equal(stat("/proc/self/ns/user", &st), 0);
    assert_int_equal(i.user_namespace, st.st_ino);
    inspection_done(&i);
    inspection_done(&i);
    close(fd);
}

static void differ_in_every_id(int ready_fd)
{
    if (setresgid(OTHER_ID, OTHER_ID + 1, OTHER_ID + 2) < 0 ||
        setresuid(OTHER_ID + 3, OTHER_ID + 4, OTHER_ID + 5) < 0)
        _exit(EXIT_FAILURE);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* which went with the ids */
}

/* Real, effective, saved: each of them has to be the caller's where a process is his own. */
static void test_ids(void **state)
{
    struct inspection i;
    pid_t pid;
    int fd;

    if (geteuid() != 0)
        skip();
    pid = start_child(differ_in_every_id);
    fd = open_pidfd(pid, 0);
    assert_int_equal(inspect(fd, 0, &i), 0);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(i.gids[n], OTHER_ID + n);
        assert_int_equal(i.uids[n], OTHER_ID + 3 + n);
    }
    inspection_done(&i);
    end_child(pid);
    close(fd);
}

static void test_not_a_pidfd(void **state)
{
    struct inspection i = {.pid = 1};
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(inspect(fds[0], 0, &i), -EBADF);
    assert_int_equal(inspect(1 << 20, 0, &i), -EBADF);
    assert_int_equal(i.pid, 1);
    close(fds[0]);
    close(fds[1]);
}

static void test_gone(void **state)
{
    struct inspection i;
    pid_t pid = start_child(do_nothing);
    int fd = open_pidfd(pid, 0);

    end_child(pid);
    assert_int_equal(inspect(fd, 0, &i), -ESRCH);
    close(fd);
}

static void test_zombie(void **state)
{
    struct inspection i;
    pid_t pid = start_child(do_nothing);
    int fd = open_pidfd(pid, 0);
    siginfo_t si;

    kill(pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
    assert_int_equal(inspect(fd, 0, &i), 0);
    assert_true(i.zombie);
    assert_null(i.executable);
    inspection_done(&i);
    end_child(pid);
    close(fd);
}

static void set_hostile_comm(int ready_fd)
{
    prctl(PR_SET_NAME, "a) Z (\n\xff");
}

static void test_hostile_comm(void **state)
{
    struct inspection i;
    pid_t pid = start_child(set_hostile_comm);
    int fd = open_pidfd(pid, 0);

    assert_int_equal(inspect(fd, 0, &i), 0);
    assert_string_equal(i.comm, "a) Z (\n\xff");
    assert_false(i.zombie);
    inspection_done(&i);
    end_child(pid);
    close(fd);
}

static void become_other(void)
{
    if (geteuid() == 0 && (setresgid(OTHER_ID, OTHER_ID, OTHER_ID) < 0 ||
                           setresuid(OTHER_ID, OTHER_ID, OTHER_ID) < 0))
        _exit(EXIT_FAILURE);
}

static void be_dumpable(int ready_fd)
{
    become_other();
    prctl(PR_SET_DUMPABLE, 1);
}

static void be_undumpable(int ready_fd)
{
    become_other();
    prctl(PR_SET_DUMPABLE, 0);
}

static void test_dumpable(void **state)
{
    struct inspection i;

    for (int dumpable = 0; dumpable < 2; dumpable++) {
        pid_t pid = start_child(dumpable ? be_dumpable : be_undumpable);
        int fd = open_pidfd(pid, 0);

        assert_int_equal(inspect(fd, 0, &i), 0);
        assert_int_equal(i.dumpable, dumpable);
        inspection_done(&i);
        end_child(pid);
        close(fd);
    }
}

static void *thread_lives(void *ready_fd)
{
    prctl(PR_SET_NAME, "second");
    for (;;)
        pause();
    return NULL;
}

static void start_thread(int ready_fd)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, thread_lives, NULL) != 0)
        _exit(EXIT_FAILURE);
}

static int not_the_leader(pid_t tid, void *userdata)
{
    return tid == *(pid_t *)userdata ? 0 : tid;
}

static void test_thread(void **state)
{
    struct inspection i;
    pid_t pid = start_child(start_thread), tid, other = getpid();
    int fd = open_pidfd(pid, 0), found;

    tid = proc_for_each_thread(pid, not_the_leader, &pid);
    assert_true(tid > 0);
    assert_int_equal(inspect(fd, tid, &i), 0);
    assert_int_equal(i.pid, pid);
    inspection_done(&i);
    assert_int_equal(inspect(fd, other, &i), -ENXIO);

    assert_int_equal(inspect_find_thread(tid, &found), 0);
    assert_int_equal(inspect(found, tid, &i), 0);
    assert_int_equal(i.pid, pid);
    inspection_done(&i);
    close(found);
    end_child(pid);
    assert_int_equal(inspect_find_thread(tid, &found), -ESRCH);
    assert_int_equal(inspect_find_thread(-1, &found), -ESRCH);
    close(fd);
}

static void *thread_outlives(void *ready_fd)
{
    struct proc_status status;

    prctl(PR_SET_NAME, "outlives");
    do
        usleep(1000);
    while (proc_read_status(getpid(), &status) >= 0 && status.state != 'Z');
    (void)!write((int)(intptr_t)ready_fd, "", 1);
    for (;;)
        pause();
    return NULL;
}

static _Noreturn void end_main_thread(int ready_fd)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, thread_outlives, (void *)(intptr_t)ready_fd) != 0)
        _exit(EXIT_FAILURE);
    pthread_exit(NULL);
}

/* The process lives, and its credentials are those of the thread that does. */
static void test_zombie_leader(void **state)
{
    struct inspection i;
    pid_t pid = start_child(end_main_thread);
    int fd = open_pidfd(pid, 0);

    assert_int_equal(inspect(fd, 0, &i), 0);
    assert_false(i.zombie);
    assert_string_equal(i.comm, "outlives");
    assert_non_null(i.executable);
    inspection_done(&i);

    assert_int_equal(inspect(fd, pid, &i), 0);
    assert_true(i.zombie);
    inspection_done(&i);
    end_child(pid);
    close(fd);
}

static void *pauses(void *unused)
{
    for (;;)
        pause();
    return NULL;
}

static void end_main_thread_soon(int ready_fd)
{
    pthread_t thread;

    pthread_create(&thread, NULL, pauses, NULL);
    (void)!write(ready_fd, "", 1);
    usleep(100);
    syscall(SYS_exit, 0);
}

/* It lives on in its other thread, at every moment. */
static void test_leader_that_is_just_ending(void **state)
{
    for (unsigned round = 0; round < 50; round++) {
        pid_t pid = start_child(end_main_thread_soon);
        int fd = open_pidfd(pid, 0);
        struct proc_status status = {0};

        while (status.state != 'Z') {
            struct inspection i;

            assert_int_equal(inspect(fd, 0, &i), 0);
            assert_false(i.zombie);
            inspection_done(&i);
            assert_return_code(proc_read_status(pid, &status), 0);
        }
        end_child(pid);
        close(fd);
    }
}

static void attach_and_let_go_for_ever(pid_t target) __attribute__((__noreturn__));

static void attach_and_let_go_for_ever(pid_t target)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        ptrace(PTRACE_SEIZE, target, NULL, NULL);
        ptrace(PTRACE_INTERRUPT, target, NULL, NULL);
        waitpid(target, NULL, __WALL);
        ptrace(PTRACE_DETACH, target, NULL, NULL);
    }
}

static void test_parent_is_not_taken_for_the_tracer_that_is_letting_go(void **state)
{
    const time_t end = time(NULL) + 3;
    pid_t target = start_child(do_nothing), tracer = fork();
    int fd = open_pidfd(target, 0);

    assert_true(tracer >= 0);
    if (tracer == 0)
        attach_and_let_go_for_ever(target);
    while (time(NULL) < end) {
        struct inspection i;

        assert_int_equal(inspect(fd, 0, &i), 0);
        assert_true(i.tracer == 0 || i.tracer == tracer);
        assert_int_equal(i.tracer_is_ours, i.tracer == tracer);
        inspection_done(&i);
    }
    end_child(tracer);
    end_child(target);
    close(fd);
}

static void test_pidfd_of_thread(void **state)
{
    enum { PIDFD_OF_THREAD = O_EXCL }; /* PIDFD_THREAD, Linux 6.9 */
    struct inspection i;
    pid_t pid = start_child(start_thread), tid;
    int fd;

    tid = proc_for_each_thread(pid, not_the_leader, &pid);
    fd = open_pidfd(tid, PIDFD_OF_THREAD);
    if (fd >= 0) {
        assert_int_equal(inspect(fd, 0, &i), -EBADF);
        close(fd);
    }
    end_child(pid);
    if (fd < 0)
        skip();
}

static void test_kernel_thread(void **state)
{
    enum { KTHREADD = 2 };
    struct inspection i;
    struct proc_stat stat;
    int fd;

    if (proc_read_stat(KTHREADD, KTHREADD, &stat) < 0 || !(stat.flags & PROC_FLAG_KTHREAD))
        skip(); /* a container has none */
    fd = open_pidfd(KTHREADD, 0);
    assert_int_equal(inspect(fd, 0, &i), 0);
    assert_true(i.kernel_thread);
    assert_false(i.dumpable);
    assert_null(i.executable);
    inspection_done(&i);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_not_a_pidfd),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_zombie),
        cmocka_unit_test(test_hostile_comm),
        cmocka_unit_test(test_dumpable),
        cmocka_unit_test(test_thread),
        cmocka_unit_test(test_zombie_leader),
        cmocka_unit_test(test_leader_that_is_just_ending),
        cmocka_unit_test(test_parent_is_not_taken_for_the_tracer_that_is_letting_go),
        cmocka_unit_test(test_pidfd_of_thread),
        cmocka_unit_test(test_kernel_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
