/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus-api/errors.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "daemon/trace/procfs.h"

/* The keeper as a process, with the tracers of the build tree. The test plays the broker. Its one
 * argument is the keeper's path. Orphans come to the test (PR_SET_CHILD_SUBREAPER), so that it sees
 * when a tracer has ended, and that none is left. */

#define KEEPER_OBJECT NULL, PTRACED_KEEPER_PATH, PTRACED_KEEPER_INTERFACE
#define CHILDREN_MAX 16

struct fixture {
    const char *program;
    pid_t keeper;
    sd_bus *bus;
    char directory[32];
    struct sockaddr_un address;
};

static int64_t now_msec(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reaps one child within that time; -ETIME: it lives. */
static int reap(pid_t pid, int msec)
{
    const int64_t end = now_msec() + msec;
    int status;

    for (;;) {
        pid_t r = waitpid(pid, &status, WNOHANG);

        if (r == pid)
            return status;
        if (r < 0 && errno != ECHILD)
            return -errno;
        if (now_msec() > end)
            return -ETIME;
        usleep(2000);
    }
}

static unsigned list_children(pid_t pid, pid_t ret[static CHILDREN_MAX])
{
    char path[64];
    unsigned n = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    while (n < CHILDREN_MAX && fscanf(f, "%d", &ret[n]) == 1)
        n++;
    fclose(f);
    return n;
}

static void wait_for_children(pid_t pid, unsigned n, pid_t ret[static CHILDREN_MAX])
{
    for (unsigned tries = 0; tries < 1000; tries++) {
        if (list_children(pid, ret) == n)
            return;
        usleep(2000);
    }
    fail_msg("keeper %d has not come to %u children", pid, n);
}

/* A tracer is seized before its exec, but a moment after its fork. */
static void wait_until_guarded(pid_t tracer, pid_t keeper)
{
    struct proc_status status;

    for (unsigned tries = 0; tries < 1000; tries++) {
        assert_int_equal(proc_read_status(tracer, &status), 0);
        if (status.tracer == keeper)
            return;
        usleep(2000);
    }
    fail_msg("tracer %d has no guardian", tracer);
}

static sd_bus *bus_from(int fd)
{
    sd_bus *bus;

    assert_int_equal(sd_bus_new(&bus), 0);
    assert_true(sd_bus_set_fd(bus, fd, fd) >= 0);
    assert_true(sd_bus_negotiate_fds(bus, true) >= 0);
    assert_true(sd_bus_start(bus) >= 0);
    return bus;
}

static void start_embedded(struct fixture *f)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->keeper = fork();
    assert_true(f->keeper >= 0);
    if (f->keeper == 0) {
        int fd = fcntl(pair[1], F_DUPFD, 4);

        if (dup2(fd, 3) == 3 && close(fd) == 0)
            execl(f->program, f->program, "--embedded", NULL);
        _exit(EXIT_FAILURE);
    }
    close(pair[1]);
    f->bus = bus_from(pair[0]);
}

static int try_connect(struct fixture *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    for (unsigned tries = 0; tries < 1000; tries++) {
        if (connect(fd, (const struct sockaddr *)&f->address, sizeof(f->address)) == 0)
            return fd;
        usleep(2000);
    }
    fail_msg("nobody listens at %s", f->address.sun_path);
    return -1;
}

static void run_system(struct fixture *f)
{
    f->keeper = fork();
    assert_true(f->keeper >= 0);
    if (f->keeper == 0) {
        char option[sizeof(f->address.sun_path) + 16];

        snprintf(option, sizeof(option), "--listen=%s", f->address.sun_path);
        execl(f->program, f->program, option, NULL);
        _exit(EXIT_FAILURE);
    }
}

static void start_system(struct fixture *f)
{
    run_system(f);
    f->bus = bus_from(try_connect(f));
}

static void reconnect(struct fixture *f)
{
    sd_bus_close_unref(f->bus);
    f->bus = bus_from(try_connect(f));
}

static int take_tracer(sd_bus *bus, pid_t *ret_pid, int *ret_fd)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    uint32_t pid;
    int r, fd;

    r = sd_bus_call_method(bus, KEEPER_OBJECT, "TakeTracer", NULL, &reply, "uu", 0u, 0u);
    if (r < 0)
        return r;
    r = sd_bus_message_read(reply, "uh", &pid, &fd);
    if (r < 0)
        return r;
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    *ret_pid = (pid_t)pid;
    return *ret_fd < 0 ? -errno : 0;
}

/* How many tracers a broker is told of. Their sockets live as long as *ret_reply: a tracer that
 * traces nothing ends with its broker's socket. */
static int list_tracers(sd_bus *bus, sd_bus_message **ret_reply)
{
    sd_bus_message *reply;
    int r, n = 0, fd;
    uint32_t pid;

    r = sd_bus_call_method(bus, KEEPER_OBJECT, "ListTracers", NULL, &reply, NULL);
    if (r < 0)
        return r;
    *ret_reply = reply;
    r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "(uh)");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(reply, "(uh)", &pid, &fd)) > 0)
        n++;
    return r < 0 ? r : n;
}

static int count_tracers(sd_bus *bus)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;

    return list_tracers(bus, &reply);
}

static void assert_all_gone(const pid_t *pids, unsigned n, int msec)
{
    for (unsigned i = 0; i < n; i++)
        assert_true(reap(pids[i], msec) >= 0);
}

static int set_up(void **state)
{
    struct fixture *f = *state;

    strcpy(f->directory, "/tmp/ptraced-keeper.XXXXXX");
    if (!mkdtemp(f->directory))
        return -1;
    f->address.sun_family = AF_UNIX;
    snprintf(f->address.sun_path, sizeof(f->address.sun_path), "%s/keeper", f->directory);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->bus = sd_bus_close_unref(f->bus);
    if (f->keeper > 0) {
        kill(f->keeper, SIGKILL);
        reap(f->keeper, 1000);
    }
    f->keeper = 0;
    unlink(f->address.sun_path);
    rmdir(f->directory);
    /* Whatever a test has left has to go now that its keeper is gone. */
    for (unsigned tries = 0; tries < 1000; tries++) {
        if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
            return 0;
        usleep(2000);
    }
    return -1;
}

static void test_take_is_guarded_and_restocked(void **state)
{
    struct fixture *f = *state;
    pid_t a, b, children[CHILDREN_MAX];
    int fd_a, fd_b;

    start_embedded(f);
    assert_int_equal(take_tracer(f->bus, &a, &fd_a), 0);
    assert_int_equal(take_tracer(f->bus, &b, &fd_b), 0);
    assert_int_not_equal(a, b);
    wait_for_children(f->keeper, 3, children);
    for (unsigned i = 0; i < 3; i++)
        wait_until_guarded(children[i], f->keeper);
    assert_int_equal(count_tracers(f->bus), 0);
    close(fd_a);
    close(fd_b);
}

/* Not while the attach that took the last one is under way; but somebody who needs one meanwhile
 * does not wait for that. */
static void test_next_tracer_is_started_a_little_later(void **state)
{
    struct fixture *f = *state;
    pid_t first, second, children[CHILDREN_MAX];
    int64_t start;
    int fd_first, fd_second;

    start_embedded(f);
    wait_for_children(f->keeper, 1, children);
    start = now_msec();
    assert_int_equal(take_tracer(f->bus, &first, &fd_first), 0);
    wait_for_children(f->keeper, 2, children);
    assert_in_range(now_msec() - start, 45, 2000);

    assert_int_equal(take_tracer(f->bus, &first, &fd_second), 0);
    close(fd_second);
    assert_int_equal(take_tracer(f->bus, &second, &fd_second), 0);
    assert_int_not_equal(first, second);
    close(fd_first);
    close(fd_second);
}

static void test_ends_with_its_broker(void **state)
{
    struct fixture *f = *state;
    pid_t children[CHILDREN_MAX];
    pid_t tracer;
    int fd;

    start_embedded(f);
    assert_int_equal(take_tracer(f->bus, &tracer, &fd), 0);
    wait_for_children(f->keeper, 2, children);
    f->bus = sd_bus_close_unref(f->bus);
    assert_int_equal(reap(f->keeper, 3000), 0);
    f->keeper = 0;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(kill(children[i], 0), -1);
    close(fd);
}

static void test_killed_keeper_leaves_no_tracer(void **state)
{
    struct fixture *f = *state;
    pid_t children[CHILDREN_MAX];
    pid_t tracer;
    int fd;

    start_embedded(f);
    assert_int_equal(take_tracer(f->bus, &tracer, &fd), 0);
    wait_for_children(f->keeper, 2, children);
    kill(f->keeper, SIGKILL);
    assert_int_equal(reap(f->keeper, 1000), SIGKILL);
    f->keeper = 0;
    assert_all_gone(children, 2, 3000);
    close(fd);
}

static void test_terminate(void **state)
{
    struct fixture *f = *state;
    pid_t children[CHILDREN_MAX];

    start_embedded(f);
    wait_for_children(f->keeper, 1, children);
    kill(f->keeper, SIGTERM);
    assert_int_equal(reap(f->keeper, 3000), 0);
    assert_int_equal(kill(children[0], 0), -1);
    f->keeper = 0;
}

static void test_killed_ready_tracer_is_replaced(void **state)
{
    struct fixture *f = *state;
    pid_t before[CHILDREN_MAX], after[CHILDREN_MAX];
    pid_t tracer;
    int fd;

    start_embedded(f);
    wait_for_children(f->keeper, 1, before);
    kill(before[0], SIGKILL);
    for (unsigned tries = 0; tries < 1000 && kill(before[0], 0) == 0; tries++)
        usleep(2000);
    wait_for_children(f->keeper, 1, after);
    assert_int_not_equal(before[0], after[0]);
    assert_int_equal(take_tracer(f->bus, &tracer, &fd), 0);
    assert_int_equal(tracer, after[0]);
    close(fd);
}

static void test_end_tracer(void **state)
{
    struct fixture *f = *state;
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    pid_t tracer;
    char byte;
    int fd;

    start_embedded(f);
    assert_int_equal(take_tracer(f->bus, &tracer, &fd), 0);
    fcntl(fd, F_SETFL, 0);
    assert_true(sd_bus_call_method(f->bus, KEEPER_OBJECT, "EndTracer", NULL, NULL, "u",
                                   (uint32_t)tracer) >= 0);
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
    assert_true(sd_bus_call_method(f->bus, KEEPER_OBJECT, "EndTracer", &error, NULL, "u",
                                   (uint32_t)getpid()) < 0);
    assert_true(sd_bus_error_has_name(&error, PTRACED_ERROR_NO_SUCH_PROCESS));
}

static void test_next_broker_is_told_of_tracers(void **state)
{
    _cleanup_bus_message_ sd_bus_message *first = NULL, *second = NULL;
    struct fixture *f = *state;
    pid_t tracer;
    int fd;

    start_system(f);
    assert_int_equal(take_tracer(f->bus, &tracer, &fd), 0);
    assert_int_equal(count_tracers(f->bus), 0);
    reconnect(f);
    assert_int_equal(list_tracers(f->bus, &first), 1);
    assert_int_equal(count_tracers(f->bus), 0);
    reconnect(f);
    assert_int_equal(list_tracers(f->bus, &second), 1);
    assert_int_equal(kill(tracer, 0), 0);
    close(fd);
}

static void test_second_broker_is_refused(void **state)
{
    struct fixture *f = *state;
    char byte;
    int fd;

    start_system(f);
    assert_int_equal(count_tracers(f->bus), 0);
    fd = try_connect(f);
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
    assert_int_equal(count_tracers(f->bus), 0);
}

/* After five seconds of grace; the ready one stays. */
static void test_releases_without_a_broker(void **state)
{
    struct fixture *f = *state;
    pid_t tracer, children[CHILDREN_MAX];
    int64_t start;
    int fd;

    start_system(f);
    assert_int_equal(take_tracer(f->bus, &tracer, &fd), 0);
    wait_for_children(f->keeper, 2, children);
    f->bus = sd_bus_close_unref(f->bus);
    start = now_msec();
    while (kill(tracer, 0) == 0 && now_msec() - start < 9000)
        usleep(10000);
    assert_in_range(now_msec() - start, 4500, 8000);
    wait_for_children(f->keeper, 1, children);
    close(fd);
}

/* As a keeper that is killed while it forks. The child ends once the descriptor returned is closed.
 */
static int leave_socket_to_a_child(const struct fixture *f)
{
    int fds[2], status;
    pid_t listener;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    listener = fork();
    assert_true(listener >= 0);
    if (listener == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        pid_t child;
        char byte;

        close(fds[1]);
        if (bind(fd, (const struct sockaddr *)&f->address, sizeof(f->address)) < 0 ||
            listen(fd, 1) < 0)
            _exit(EXIT_FAILURE);
        child = fork();
        if (child == 0)
            (void)!read(fds[0], &byte, 1);
        _exit(child < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    close(fds[0]);
    assert_int_equal(waitpid(listener, &status, 0), listener);
    assert_int_equal(status, 0);
    return fds[1];
}

static void test_starts_while_a_killed_one_has_left_its_socket_to_a_child(void **state)
{
    struct fixture *f = *state;
    pid_t child[CHILDREN_MAX], tracer;
    struct stat left, now;
    unsigned tries = 0;
    int fd, child_fd = leave_socket_to_a_child(f);

    wait_for_children(getpid(), 1, child);
    assert_int_equal(stat(f->address.sun_path, &left), 0);
    run_system(f);
    while (stat(f->address.sun_path, &now) < 0 || now.st_ino == left.st_ino) {
        assert_int_equal(waitpid(f->keeper, NULL, WNOHANG), 0);
        assert_true(tries++ < 1000);
        usleep(2000);
    }
    f->bus = bus_from(try_connect(f));
    assert_int_equal(take_tracer(f->bus, &tracer, &fd), 0);
    close(fd);
    close(child_fd);
    assert_int_equal(waitpid(child[0], NULL, 0), child[0]);
}

static void test_second_keeper_leaves_the_first_its_socket(void **state)
{
    struct fixture *f = *state, second = *f;
    int status;

    start_system(f);
    run_system(&second);
    assert_int_equal(waitpid(second.keeper, &status, 0), second.keeper);
    assert_int_equal(status, W_EXITCODE(EXIT_FAILURE, 0));
    reconnect(f);
    assert_int_equal(count_tracers(f->bus), 0);
}

#define TEST(function) cmocka_unit_test_prestate_setup_teardown(function, set_up, tear_down, &f)

int main(int argc, char *argv[])
{
    struct fixture f = {.program = argc > 1 ? argv[1] : NULL};
    const struct CMUnitTest tests[] = {
        TEST(test_take_is_guarded_and_restocked),
        TEST(test_ends_with_its_broker),
        TEST(test_next_tracer_is_started_a_little_later),
        TEST(test_killed_keeper_leaves_no_tracer),
        TEST(test_terminate),
        TEST(test_killed_ready_tracer_is_replaced),
        TEST(test_end_tracer),
        TEST(test_next_broker_is_told_of_tracers),
        TEST(test_second_broker_is_refused),
        TEST(test_releases_without_a_broker),
        TEST(test_starts_while_a_killed_one_has_left_its_socket_to_a_child),
        TEST(test_second_keeper_leaves_the_first_its_socket),
    };

    if (!f.program) {
        fprintf(stderr, "Usage: %s KEEPER\n", argv[0]);
        return EXIT_FAILURE;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
