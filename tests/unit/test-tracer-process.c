/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus-api/errors.h"
#include "bus-api/event.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/keeper/control.h"
#include "daemon/trace/ledger.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/quota.h"

/* A tracer as a process. The test plays its keeper, without guarding it, so that LeakSanitizer can
 * look at it when it ends, and its broker. Its one argument is the tracer's path. */

#define TRACER NULL, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE

struct fixture {
    const char *program;
    pid_t tracer;
    int control;
    int ledger;
    int quota;
    sd_bus *bus;
    pid_t tracee;
};

/* Between fork and exec. */
static _Noreturn void run_tracer(const struct fixture *f, int control)
{
    int a = fcntl(control, F_DUPFD, 10), b = fcntl(f->ledger, F_DUPFD, 10);
    int c = fcntl(f->quota, F_DUPFD, 10);
    struct quota_table *table;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("ASAN_OPTIONS", "detect_leaks=1", 1);
    dup2(a, TRACER_CONTROL_FD);
    dup2(b, TRACER_LEDGER_FD);
    dup2(c, TRACER_QUOTA_FD);
    if (quota_map(c, &table) < 0 || quota_give_row(table, getpid()) < 0)
        _exit(98);
    close_range(TRACER_QUOTA_FD + 1, ~0U, 0);
    execl(f->program, f->program, NULL);
    _exit(99);
}

static void start_tracer(struct fixture *f)
{
    int pair[2];

    assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), errno);
    assert_return_code(ledger_create(&f->ledger), 0);
    assert_return_code(quota_create(&f->quota), 0);
    f->tracer = fork();
    assert_true(f->tracer >= 0);
    if (f->tracer == 0)
        run_tracer(f, pair[1]);
    close(pair[1]);
    f->control = pair[0];
}

static void adopt(struct fixture *f)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct control_message order = {.order = CONTROL_ADOPT};
    struct iovec iov = {&order, sizeof(order)};
    struct msghdr m = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    int pair[2];

    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &pair[1], sizeof(int));
    assert_return_code(sendmsg(f->control, &m, 0), errno);
    close(pair[1]);

    assert_return_code(sd_bus_new(&f->bus), 0);
    assert_return_code(sd_bus_set_fd(f->bus, pair[0], pair[0]), 0);
    assert_return_code(sd_bus_negotiate_fds(f->bus, true), 0);
    assert_return_code(sd_bus_start(f->bus), 0);
}

static void start_tracee(struct fixture *f)
{
    f->tracee = fork();
    assert_true(f->tracee >= 0);
    if (f->tracee == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
        close_range(3, ~0U, 0); /* the broker's end of the socket among them */
        for (;;)
            pause();
    }
}

static int setup(void **state)
{
    struct fixture *f = *state;

    start_tracer(f);
    adopt(f);
    start_tracee(f);
    return 0;
}

/* -1 where the tracer does not end within five seconds. */
static int exit_status_of_tracer(struct fixture *f)
{
    int status;

    for (int msec = 0; msec < 5000; msec++) {
        if (waitpid(f->tracer, &status, WNOHANG) == f->tracer) {
            f->tracer = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        usleep(1000);
    }
    return -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    sd_bus_close_unref(f->bus);
    f->bus = NULL;
    close(f->control);
    close(f->ledger);
    close(f->quota);
    if (f->tracer > 0) {
        kill(f->tracer, SIGKILL);
        waitpid(f->tracer, NULL, 0);
    }
    kill(f->tracee, SIGKILL);
    waitpid(f->tracee, NULL, 0);
    return 0;
}

static void open_session(struct fixture *f)
{
    assert_return_code(sd_bus_call_method(f->bus, TRACER, "OpenSession", NULL, NULL, "susssbuuu",
                                          "s1", 1000u, "name", ":1.1", "client", true, 1024u, 1024u,
                                          65536u),
                       0);
}

static int attach(struct fixture *f, sd_bus_error *error)
{
    int fd = (int)syscall(SYS_pidfd_open, f->tracee, 0), r;

    assert_true(fd >= 0);
    r = sd_bus_call_method(f->bus, TRACER, "Attach", error, NULL,
                           "shu" PTRACED_GRANT_SIGNATURE "a{sv}", "s1", fd, 0u, true, 0, 0,
                           UINT64_C(0), UINT64_C(0), false, false, 0, false, UINT64_C(0),
                           UINT64_C(0), 1u, 1, "stop", "b", true);
    close(fd);
    return r;
}

static char state_of_tracee(const struct fixture *f)
{
    struct proc_status s;

    return proc_read_status(f->tracee, &s) < 0 ? '-' : s.state;
}

/* The number of events in an answer; the first one's kind is compared. */
static int count_events(sd_bus_message *reply, const char *kind)
{
    struct ptraced_event_record e;
    int n = 0;

    assert_return_code(sd_bus_message_enter_container(reply, 'a', PTRACED_EVENT_SIGNATURE), 0);
    while (ptraced_event_read(reply, &e) > 0) {
        if (n++ == 0)
            assert_string_equal(e.kind, kind);
        ptraced_event_done(&e);
    }
    return n;
}

static void assert_confined(pid_t pid)
{
    char path[64], line[128];
    bool found = false;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status))
        found |= strcmp(line, "Seccomp:\t2\n") == 0;
    fclose(status);
    assert_true(found);
}

static void ends_clean_after_a_session_s_life(void **state)
{
    struct fixture *f = *state;
    char path[PTRACED_PATH_MAX];
    sd_bus_message *reply;

    open_session(f);
    assert_confined(f->tracer);
    assert_return_code(attach(f, NULL), 0);
    assert_int_equal(state_of_tracee(f), 't');

    assert_return_code(sd_bus_call_method(f->bus, TRACER, "ListStopped", NULL, &reply, "s", "s1"),
                       0);
    assert_int_equal(count_events(reply, "stop"), 1);
    sd_bus_message_unref(reply);
    assert_return_code(
        sd_bus_call_method(f->bus, TRACER, "TakeEvent", NULL, &reply, "suu", "s1", 0u, 0u), 0);
    assert_int_equal(count_events(reply, "stop"), 1);
    sd_bus_message_unref(reply);
    assert_return_code(
        sd_bus_call_method(f->bus, TRACER, "TakeEvent", NULL, &reply, "suu", "s1", 0u, 0u), 0);
    assert_int_equal(count_events(reply, "stop"), 0);
    sd_bus_message_unref(reply);

    ptraced_path_thread(path, "s1", f->tracee, f->tracee);
    assert_return_code(sd_bus_call_method(f->bus, NULL, path, PTRACED_THREAD_INTERFACE, "Continue",
                                          NULL, NULL, "a{sv}", 0),
                       0);
    assert_return_code(sd_bus_call_method(f->bus, NULL, path, "org.freedesktop.DBus.Properties",
                                          "GetAll", NULL, NULL, "s", PTRACED_THREAD_INTERFACE),
                       0);
    ptraced_path_process(path, "s1", f->tracee);
    assert_return_code(sd_bus_call_method(f->bus, NULL, path, "org.freedesktop.DBus.Introspectable",
                                          "Introspect", NULL, NULL, ""),
                       0);
    assert_return_code(sd_bus_call_method(f->bus, TRACER, "CloseSession", NULL, NULL, "s", "s1"),
                       0);
    assert_int_not_equal(state_of_tracee(f), 't');
    f->bus = sd_bus_close_unref(f->bus);
    assert_int_equal(exit_status_of_tracer(f), 0);
}

static int count_ready(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    int *n = userdata;

    if (sd_bus_message_is_signal(m, PTRACED_TRACER_INTERFACE, "Ready"))
        (*n)++;
    return 0;
}

/* Answers nothing; returns what `n_ready` has become when nothing has come for 100 ms. */
static int settled(struct fixture *f, const int *n_ready)
{
    int r;

    do {
        while ((r = sd_bus_process(f->bus, NULL)) > 0)
            ;
        assert_return_code(r, 0);
        assert_true(*n_ready < 100);
    } while (sd_bus_wait(f->bus, 100 * 1000) > 0);
    return *n_ready;
}

static int take_event(struct fixture *f, pid_t pid, const char *kind)
{
    sd_bus_message *reply;
    int n;

    assert_return_code(sd_bus_call_method(f->bus, TRACER, "TakeEvent", NULL, &reply, "suu", "s1",
                                          (uint32_t)pid, 0u),
                       0);
    n = count_events(reply, kind);
    sd_bus_message_unref(reply);
    return n;
}

/* An event of one process waits to be taken while somebody waits for one of another. */
static void tells_that_something_is_ready_only_when_something_new_is(void **state)
{
    struct fixture *f = *state;
    const pid_t other = getpid();
    char path[PTRACED_PATH_MAX];
    int n_ready = 0;

    open_session(f);
    assert_return_code(attach(f, NULL), 0);
    assert_return_code(sd_bus_add_filter(f->bus, NULL, count_ready, &n_ready), 0);
    assert_int_equal(take_event(f, other, ""), 0);
    assert_int_equal(settled(f, &n_ready), 0);

    /* A second question does not make the tracer forget what the first one still waits for. */
    ptraced_path_process(path, "s1", f->tracee);
    assert_return_code(sd_bus_call_method(f->bus, NULL, path, PTRACED_PROCESS_INTERFACE, "Continue",
                                          NULL, NULL, "a{sv}", 0),
                       0);
    assert_return_code(kill(f->tracee, SIGWINCH), errno);
    assert_int_equal(take_event(f, other, ""), 0);
    assert_int_equal(settled(f, &n_ready), 1);
    assert_int_equal(take_event(f, f->tracee, "stop"), 1);
    assert_int_equal(take_event(f, f->tracee, "signal"), 1);
    assert_int_equal(take_event(f, 0, ""), 0);
}

static int count_streamed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    int *n = userdata;

    if (sd_bus_message_is_signal(m, PTRACED_TRACER_INTERFACE, "Events")) {
        assert_return_code(sd_bus_message_skip(m, "s"), 0);
        *n += count_events(m, "stop");
    }
    return 0;
}

/* Makes so many stops; returns how many events were streamed by the time that nothing has come for
 * 100 ms. */
static int stops_streamed(struct fixture *f, int n, int *streamed)
{
    *streamed = 0;
    for (int i = 0; i < n; i++) {
        assert_return_code(
            sd_bus_call_method(f->bus, TRACER, "Continue", NULL, NULL, "sa{sv}", "s1", 0), 0);
        assert_return_code(sd_bus_call_method(f->bus, TRACER, "Interrupt", NULL, NULL, "s", "s1"),
                           0);
    }
    do
        while (sd_bus_process(f->bus, NULL) > 0)
            ;
    while (sd_bus_wait(f->bus, 100 * 1000) > 0);
    return *streamed;
}

static void set_stream(struct fixture *f, bool on)
{
    assert_return_code(
        sd_bus_call_method(f->bus, TRACER, "SetStream", NULL, NULL, "sb", "s1", (int)on), 0);
}

/* A broker that asks for events anew may still have those that it was sent before. */
static void window_is_filled_once_however_often_the_stream_is_turned_on(void **state)
{
    const int window = (int)PTRACED_STREAM_WINDOW;
    struct fixture *f = *state;
    int n = 0;

    open_session(f);
    assert_return_code(sd_bus_add_filter(f->bus, NULL, count_streamed, &n), 0);
    set_stream(f, true);
    assert_return_code(attach(f, NULL), 0);
    assert_int_equal(stops_streamed(f, window + 20, &n), window);
    set_stream(f, false);
    set_stream(f, true);
    assert_int_equal(stops_streamed(f, 20, &n), 0);
    assert_return_code(sd_bus_call_method(f->bus, TRACER, "Credit", NULL, NULL, "su", "s1", 15u),
                       0);
    assert_int_equal(stops_streamed(f, 1, &n), 15);
}

static void keeps_its_tracees_without_a_broker_and_gives_them_to_the_next(void **state)
{
    struct fixture *f = *state;
    sd_bus_message *reply;

    open_session(f);
    assert_return_code(attach(f, NULL), 0);
    f->bus = sd_bus_close_unref(f->bus);
    usleep(50000);
    assert_int_equal(state_of_tracee(f), 't');

    adopt(f);
    assert_return_code(sd_bus_call_method(f->bus, TRACER, "ListStopped", NULL, &reply, "s", "s1"),
                       0);
    assert_int_equal(count_events(reply, "stop"), 1);
    sd_bus_message_unref(reply);
}

static void releases_everything_when_its_keeper_dies(void **state)
{
    struct fixture *f = *state;

    open_session(f);
    assert_return_code(attach(f, NULL), 0);
    shutdown(f->control, SHUT_RDWR);
    assert_int_equal(exit_status_of_tracer(f), 0);
    assert_int_not_equal(state_of_tracee(f), 't');
    assert_int_equal(kill(f->tracee, 0), 0);
}

static void releases_everything_when_told_to_terminate_by(struct fixture *f, int signo)
{
    open_session(f);
    assert_return_code(attach(f, NULL), 0);
    assert_int_equal(state_of_tracee(f), 't');
    usleep(50000); /* it sleeps, and only the doorbell can wake it */
    assert_return_code(kill(f->tracer, signo), errno);
    assert_int_equal(exit_status_of_tracer(f), 0);
    assert_int_not_equal(state_of_tracee(f), 't');
    assert_int_equal(kill(f->tracee, 0), 0);
}

static void releases_everything_at_sigterm(void **state)
{
    releases_everything_when_told_to_terminate_by(*state, SIGTERM);
}

static void releases_everything_at_sigint(void **state)
{
    releases_everything_when_told_to_terminate_by(*state, SIGINT);
}

static void refusals_name_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    char path[PTRACED_PATH_MAX];

    assert_int_equal(attach(f, &error), -ENXIO);
    assert_true(sd_bus_error_has_name(&error, PTRACED_ERROR_NO_SUCH_SESSION));
    sd_bus_error_free(&error);

    open_session(f);
    ptraced_path_process(path, "s1", f->tracee);
    assert_int_equal(sd_bus_call_method(f->bus, NULL, path, PTRACED_PROCESS_INTERFACE, "Detach",
                                        &error, NULL, ""),
                     -EUNATCH);
    assert_non_null(strstr(error.message, "does not trace process"));
}

int main(int argc, char **argv)
{
    struct fixture f = {.program = argv[1]};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate_setup_teardown(ends_clean_after_a_session_s_life, setup, teardown,
                                                 &f),
        cmocka_unit_test_prestate_setup_teardown(
            tells_that_something_is_ready_only_when_something_new_is, setup, teardown, &f),
        cmocka_unit_test_prestate_setup_teardown(
            window_is_filled_once_however_often_the_stream_is_turned_on, setup, teardown, &f),
        cmocka_unit_test_prestate_setup_teardown(
            keeps_its_tracees_without_a_broker_and_gives_them_to_the_next, setup, teardown, &f),
        cmocka_unit_test_prestate_setup_teardown(releases_everything_when_its_keeper_dies, setup,
                                                 teardown, &f),
        cmocka_unit_test_prestate_setup_teardown(releases_everything_at_sigterm, setup, teardown,
                                                 &f),
        cmocka_unit_test_prestate_setup_teardown(releases_everything_at_sigint, setup, teardown,
                                                 &f),
        cmocka_unit_test_prestate_setup_teardown(refusals_name_what_is_wrong, setup, teardown, &f),
    };

    if (argc != 2)
        return 2;
    ptraced_errors_register();
    return cmocka_run_group_tests_name("tracer-process", tests, NULL, NULL);
}
