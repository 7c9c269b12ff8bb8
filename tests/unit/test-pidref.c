/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/pidref.h"
#include "tests/unit/trace-fixture.h"

static int sleeps(int ready)
{
    child_is_ready(ready);
    while (pause() < 0)
        ;
    return 0;
}

static pid_t start(struct pidref *ret)
{
    pid_t pid = fixture_start(sleeps);

    assert_return_code(pidref_open(pid, ret), 0);
    assert_int_equal(ret->pid, pid);
    return pid;
}

static void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void number_of_a_process_opens(void **state)
{
    struct pidref p = PIDREF_NULL;

    assert_return_code(pidref_open(getpid(), &p), 0);
    assert_int_equal(p.pid, getpid());
    assert_true(pidref_exists(&p));
    assert_true(fcntl(p.fd, F_GETFD) & FD_CLOEXEC);
    pidref_done(&p);
    assert_int_equal(p.fd, -1);
    pidref_done(&p); /* once more does nothing */
}

static void number_that_names_no_process_is_refused(void **state)
{
    struct pidref p;
    pid_t gone = start(&p);

    reap(gone);
    pidref_done(&p);
    p = PIDREF_NULL;
    assert_int_equal(pidref_open(gone, &p), -ESRCH);
    assert_int_equal(pidref_open(0, &p), -EINVAL);
    assert_int_equal(pidref_open(-1, &p), -EINVAL);
    assert_int_equal(p.fd, -1);
}

static void descriptor_is_duplicated_and_stays_its_owners(void **state)
{
    struct pidref p, copy;
    pid_t pid = start(&p);

    assert_return_code(pidref_from_fd(p.fd, &copy), 0);
    assert_int_equal(copy.pid, pid);
    assert_int_not_equal(copy.fd, p.fd);
    assert_true(fcntl(copy.fd, F_GETFD) & FD_CLOEXEC);
    pidref_done(&copy);
    assert_true(pidref_exists(&p));
    reap(pid);
    pidref_done(&p);
}

static void descriptor_of_a_reaped_process_is_no_such_process(void **state)
{
    struct pidref p, copy = PIDREF_NULL;
    pid_t pid = start(&p);

    reap(pid);
    assert_int_equal(pidref_from_fd(p.fd, &copy), -ESRCH);
    assert_int_equal(copy.fd, -1);
    assert_false(pidref_exists(&p));
    assert_int_equal(pidref_signal(&p, SIGTERM), -ESRCH);
    pidref_done(&p);
}

static void zombie_exists_until_it_is_reaped(void **state)
{
    struct pidref p, copy;
    pid_t pid = start(&p);

    kill(pid, SIGKILL);
    assert_true(becomes(pid, 'Z'));
    assert_true(pidref_exists(&p));
    assert_true(pidref_has_thread(&p, pid));
    assert_return_code(pidref_from_fd(p.fd, &copy), 0);
    pidref_done(&copy);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(pidref_exists(&p));
    pidref_done(&p);
}

static void descriptor_of_anything_else_is_refused(void **state)
{
    struct pidref p = PIDREF_NULL;
    int fds[2];

    assert_return_code(pipe(fds), errno);
    assert_int_equal(pidref_from_fd(fds[0], &p), -EBADF);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(pidref_from_fd(fds[0], &p), -EBADF);
    assert_int_equal(pidref_from_fd(-1, &p), -EBADF);
    assert_int_equal(p.fd, -1);
}

static void signal_arrives_at_the_process(void **state)
{
    struct pidref p;
    pid_t pid = start(&p);
    int status;

    assert_return_code(pidref_signal(&p, SIGTERM), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
    pidref_done(&p);
}

struct helper {
    pthread_barrier_t barrier;
    pid_t tid;
};

static void *tells_its_tid(void *userdata)
{
    struct helper *h = userdata;

    h->tid = gettid();
    pthread_barrier_wait(&h->barrier);
    pthread_barrier_wait(&h->barrier);
    return NULL;
}

static void thread_is_told_from_those_of_others(void **state)
{
    struct pidref self, other;
    pid_t pid = start(&other);
    pthread_t thread;
    struct helper h;

    assert_return_code(pidref_open(getpid(), &self), 0);
    assert_int_equal(pthread_barrier_init(&h.barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, tells_its_tid, &h), 0);
    pthread_barrier_wait(&h.barrier);

    assert_true(pidref_has_thread(&self, getpid()));
    assert_true(pidref_has_thread(&self, h.tid));
    assert_false(pidref_has_thread(&other, h.tid));
    assert_false(pidref_has_thread(&self, pid));
    assert_true(pidref_has_thread(&other, pid));

    pthread_barrier_wait(&h.barrier);
    pthread_join(thread, NULL);
    /* The id is free a moment after the join, which waits for the kernel's last word but one. */
    for (int msec = 0; msec < 1000 && pidref_has_thread(&self, h.tid); msec++)
        usleep(1000);
    assert_false(pidref_has_thread(&self, h.tid));
    pthread_barrier_destroy(&h.barrier);
    pidref_done(&self);
    reap(pid);
    pidref_done(&other);
}

static void number_that_no_thread_can_have_is_no_thread(void **state)
{
    struct pidref self;

    assert_return_code(pidref_open(getpid(), &self), 0);
    assert_false(pidref_has_thread(&self, 0));
    assert_false(pidref_has_thread(&self, -1));
    assert_false(pidref_has_thread(&self, -getpid()));
    pidref_done(&self);
}

static void *tries_to_open_itself(void *userdata)
{
    struct pidref p = PIDREF_NULL;

    *(int *)userdata = pidref_open(gettid(), &p);
    pidref_done(&p);
    return NULL;
}

static void thread_that_leads_no_group_is_no_process(void **state)
{
    pthread_t thread;
    int r = 0;

    assert_int_equal(pthread_create(&thread, NULL, tries_to_open_itself, &r), 0);
    pthread_join(thread, NULL);
    assert_true(r == -EINVAL || r == -ENOENT); /* ENOENT since Linux 6.9 or so */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_of_a_process_opens),
        cmocka_unit_test(number_that_names_no_process_is_refused),
        cmocka_unit_test(descriptor_is_duplicated_and_stays_its_owners),
        cmocka_unit_test(descriptor_of_a_reaped_process_is_no_such_process),
        cmocka_unit_test(zombie_exists_until_it_is_reaped),
        cmocka_unit_test(descriptor_of_anything_else_is_refused),
        cmocka_unit_test(signal_arrives_at_the_process),
        cmocka_unit_test(thread_is_told_from_those_of_others),
        cmocka_unit_test(number_that_no_thread_can_have_is_no_thread),
        cmocka_unit_test(thread_that_leads_no_group_is_no_process),
    };

    alarm(60);
    return cmocka_run_group_tests_name("pidref", tests, NULL, NULL);
}
