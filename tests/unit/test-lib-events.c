/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "tests/unit/test-lib-fake.h"

/* libptraced against a service that traces nothing: sessions, events, requests, failures. */

struct fixture {
    struct fake *fake;
    ptraced *client;
    ptraced_session *session;
};

static int setup(void **state)
{
    struct fixture *fix = calloc(1, sizeof(*fix));

    assert_non_null(fix);
    fix->fake = fake_new(&fix->client);
    assert_int_equal(ptraced_session_new(fix->client, "test", 0, &fix->session), 0);
    *state = fix;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fix = *state;

    ptraced_session_unref(fix->session);
    ptraced_unref(fix->client);
    fake_free(fix->fake);
    free(fix);
    return 0;
}

static uint64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void assert_error(struct fixture *fix, const char *name, const char *part)
{
    const char *got_name, *message;

    ptraced_get_error(fix->client, &got_name, &message);
    if (name)
        assert_string_equal(got_name, name);
    else
        assert_null(got_name);
    assert_non_null(strstr(message, part));
}

static void test_session_options(void **state)
{
    struct fixture *fix = *state;
    _cleanup_(ptraced_session_unrefp) ptraced_session *s = NULL, *same = NULL;

    assert_string_equal(fix->fake->options, "name=test");
    assert_string_equal(ptraced_session_get_id(fix->session), "s1");
    assert_ptr_equal(ptraced_session_get_connection(fix->session), fix->client);
    assert_int_equal(ptraced_get_transport(fix->client), PTRACED_TRANSPORT_DIRECT);

    assert_int_equal(ptraced_session_new(fix->client, NULL, PTRACED_SESSION_PERSISTENT, &s), 0);
    assert_string_equal(fix->fake->options, "name=test-lib-events lifetime=persistent");
    assert_int_equal(fix->fake->subscriptions, 1);
    assert_int_equal(ptraced_session_new(fix->client, NULL, 1u << 31, &same), -EINVAL);

    assert_int_equal(ptraced_session_get(fix->client, "s1", true, &same), 0);
    assert_int_equal(ptraced_session_get(fix->client, "gone", false, &same), -ENXIO);
    assert_error(fix, PTRACED_ERROR_NO_SUCH_SESSION, "gone");
    assert_int_equal(ptraced_session_get(fix->client, "no/id", false, &same), -EINVAL);
    assert_int_equal(ptraced_session_get(fix->client, NULL, false, &same), -EINVAL);
}

static void test_session_get_is_the_same_object(void **state)
{
    struct fixture *fix = *state;
    ptraced_session *s;

    assert_int_equal(ptraced_session_get(fix->client, "s1", true, &s), 0);
    assert_ptr_equal(s, fix->session);
    assert_int_equal(fix->fake->subscriptions, 0);
    ptraced_session_unref(s);

    /* Without an object: its last reference gave up the subscription. */
    fix->session = ptraced_session_unref(fix->session);
    assert_int_equal(ptraced_session_get(fix->client, "s1", true, &fix->session), 0);
    assert_int_equal(fix->fake->unsubscriptions, 1);
    assert_int_equal(fix->fake->subscriptions, 1);
}

static void test_ping_and_version(void **state)
{
    struct fixture *fix = *state;
    const char *version;

    assert_int_equal(ptraced_ping(fix->client), 0);
    assert_int_equal(ptraced_get_version(fix->client, &version), 0);
    assert_string_equal(version, "1.2.3");
    assert_int_equal(ptraced_get_version(fix->client, &version), 0);
}

static void test_event_fields(void **state)
{
    struct fixture *fix = *state;
    _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;
    char type;
    int64_t v;

    assert_int_equal(ptraced_signal(fix->session, 7, 1), 0);
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), 0);
    assert_int_equal(ptraced_event_get_serial(e), 1);
    assert_int_equal(ptraced_event_get_usec(e), 1001);
    assert_int_equal(ptraced_event_get_pid(e), 7);
    assert_int_equal(ptraced_event_get_tid(e), 7);
    assert_int_equal(ptraced_event_get_kind(e), PTRACED_EVENT_SIGNAL);
    assert_string_equal(ptraced_event_get_kind_name(e), "signal");
    assert_false(ptraced_event_get_stopped(e));

    assert_int_equal(ptraced_event_get_detail(e, "signal", &v), 0);
    assert_int_equal(v, -7);
    assert_int_equal(ptraced_event_get_detail(e, "child", &v), 0);
    assert_int_equal(v, UINT32_MAX);
    assert_int_equal(ptraced_event_get_detail(e, "address", &v), 0);
    assert_int_equal((uint64_t)v, UINT64_MAX);
    assert_int_equal(ptraced_event_get_detail(e, "core", &v), 0);
    assert_int_equal(v, 1);
    assert_int_equal(ptraced_event_get_detail(e, "reason", &v), -ENODATA);
    assert_int_equal(ptraced_event_get_detail(e, "none", &v), -ENODATA);
    assert_string_equal(ptraced_event_get_detail_string(e, "reason"), "privilege");
    assert_null(ptraced_event_get_detail_string(e, "signal"));
    assert_string_equal(ptraced_event_get_detail_key(e, 4, &type), "reason");
    assert_int_equal(type, 's');
    assert_null(ptraced_event_get_detail_key(e, 5, &type));
}

static void test_events_in_order(void **state)
{
    struct fixture *fix = *state;

    assert_int_equal(ptraced_signal(fix->session, 7, 1000), 0);
    for (unsigned i = 1; i <= 1000; i++) {
        _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;

        assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), 0);
        assert_int_equal(ptraced_event_get_serial(e), i);
    }
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &(ptraced_event *){NULL}), -EAGAIN);
}

static void test_event_timeouts(void **state)
{
    struct fixture *fix = *state;
    _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;
    uint64_t before = now();

    assert_int_equal(ptraced_session_get_event(fix->session, 20000, &e), -EAGAIN);
    assert_true(now() - before >= 20000);
    assert_true(now() - before < 1000000);

    assert_int_equal(ptraced_interrupt(fix->session, 7, 0), 0);
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), -EAGAIN);
    assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX - 1, &e), 0);
    assert_int_equal(ptraced_event_get_kind(e), PTRACED_EVENT_STOP);
    assert_true(ptraced_event_get_stopped(e));
}

static void test_broken_event_is_counted(void **state)
{
    struct fixture *fix = *state;
    uint64_t lost;

    assert_int_equal(ptraced_signal(fix->session, 7, -1), 0);
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &(ptraced_event *){NULL}), -EAGAIN);
    assert_int_equal(ptraced_session_get_lost_events(fix->session, &lost), 0);
    assert_int_equal(lost, 41);
}

static void on_alarm(int signo)
{
}

static void test_signal_handler_ends_the_wait(void **state)
{
    /* Again, for the first may come before the wait has begun. */
    const struct itimerval soon = {.it_value.tv_usec = 20000, .it_interval.tv_usec = 20000};
    const struct itimerval never = {0};
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    struct fixture *fix = *state;
    ptraced_event *e;

    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    assert_int_equal(ptraced_session_get_event(fix->session, 10000000, &e), -EINTR);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

/* A full list holds up ptraced_process(), and taking events makes it go on. */
static void test_bounded_reading(void **state)
{
    struct fixture *fix = *state;
    ptraced_event *e;
    unsigned n = 0;
    uint64_t until;

    assert_int_equal(ptraced_signal(fix->session, 7, 4096), 0);
    assert_int_equal(ptraced_get_events(fix->client) & POLLIN, 0);
    assert_int_equal(ptraced_get_timeout(fix->client, &until), 0);
    assert_true(until == UINT64_MAX);
    assert_int_equal(ptraced_process(fix->client), 0);

    /* A call goes on reading. */
    assert_int_equal(ptraced_signal(fix->session, 7, 10), 0);
    while (ptraced_session_get_event(fix->session, 0, &e) == 0) {
        ptraced_event_unref(e);
        n++;
    }
    assert_int_equal(n, 4106);
    assert_int_equal(ptraced_get_events(fix->client) & POLLIN, POLLIN);
}

static void test_foreign_loop(void **state)
{
    struct fixture *fix = *state;
    ptraced_event *e = NULL;
    int r = -EAGAIN;

    assert_int_equal(ptraced_interrupt(fix->session, 7, 0), 0);
    while (r == -EAGAIN) {
        struct pollfd fd = {
            .fd = ptraced_get_fd(fix->client),
            .events = (short)ptraced_get_events(fix->client),
        };

        assert_true(fd.fd >= 0);
        assert_int_equal(poll(&fd, 1, 5000), 1);
        while ((r = ptraced_process(fix->client)) > 0)
            ;
        assert_int_equal(r, 0);
        r = ptraced_session_get_event(fix->session, 0, &e);
    }
    assert_int_equal(r, 0);
    ptraced_event_unref(e);
}

static void test_end_of_session(void **state)
{
    struct fixture *fix = *state;
    ptraced_event *e;

    assert_int_equal(ptraced_signal(fix->session, 7, 1), 0);
    assert_int_equal(ptraced_session_close(fix->session), 0);
    /* What was there stays. */
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), 0);
    ptraced_event_unref(e);
    assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX, &e), -ENXIO);
    assert_int_equal(ptraced_session_close(fix->session), -ENXIO);
}

static void test_session_removed_by_others(void **state)
{
    struct fixture *fix = *state;
    _cleanup_(ptraced_session_unrefp) ptraced_session *same = NULL;
    ptraced_event *e;

    /* Another object of the same id, as another client would have it, closes it. */
    assert_int_equal(ptraced_session_new(fix->client, "x", 0, &same), 0);
    assert_int_equal(ptraced_session_close(same), 0);
    assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX, &e), -ENXIO);
}

static void test_end_of_connection(void **state)
{
    struct fixture *fix = *state;
    ptraced_event *e;

    assert_int_equal(ptraced_signal(fix->session, 7, 2), 0);
    assert_int_equal(ptraced_signal(fix->session, 7, SIGKILL), -ECONNRESET);
    assert_error(fix, NULL, "has ended");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX, &e), 0);
        ptraced_event_unref(e);
    }
    assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX, &e), -ECONNRESET);
    assert_int_equal(ptraced_ping(fix->client), -ECONNRESET);
    while (ptraced_process(fix->client) > 0)
        ;
    assert_int_equal(ptraced_process(fix->client), -ECONNRESET);
}

static void test_attach_options(void **state)
{
    const char *kinds[] = {"exec", "signal", NULL}, *stops[] = {NULL};
    struct ptraced_attach_options o = {
        .size = sizeof(o),
        .threads = PTRACED_FOLLOW_NONE,
        .children = PTRACED_FOLLOW_EVENTS,
        .stop = true,
        .kinds = kinds,
        .stops = stops,
    };
    struct {
        struct ptraced_attach_options known;
        uint64_t more;
    } newer = {.known.size = sizeof(newer)};
    struct fixture *fix = *state;

    assert_int_equal(ptraced_attach(fix->session, 2, NULL), 0);
    assert_string_equal(fix->fake->options, "");
    assert_int_equal(ptraced_attach(fix->session, 2, &o), 0);
    assert_string_equal(fix->fake->options,
                        "threads=none children=follow stop=true events=exec,signal stops=");
    assert_int_equal(ptraced_attach(fix->session, 2, &newer.known), 0);
    newer.more = 1;
    assert_int_equal(ptraced_attach(fix->session, 2, &newer.known), -E2BIG);
    o.size = 0;
    assert_int_equal(ptraced_attach(fix->session, 2, &o), -EINVAL);
    assert_int_equal(ptraced_attach(fix->session, 0, NULL), -EINVAL);

    assert_int_equal(ptraced_attach(fix->session, 1, NULL), -EBUSY);
    assert_error(fix, PTRACED_ERROR_ALREADY_TRACED, "99 (strace)");
    assert_int_equal(ptraced_attach_thread(fix->session, 4, NULL), 1);
    assert_int_equal(ptraced_attach_thread(fix->session, 5, NULL), 0);
}

/* Else the client gives up, and the service attaches for nobody once somebody has answered. */
static void test_somebody_who_is_asked_may_take_his_time(void **state)
{
    struct fixture *fix = *state;

    assert_int_equal(ptraced_attach(fix->session, 2, NULL), 0);
    assert_false(fix->fake->interactive);
    fix->fake->thoughtful = true;
    assert_int_equal(ptraced_attach(fix->session, 2, NULL), -ETIMEDOUT);

    assert_int_equal(ptraced_set_interactive(fix->client, true), 0);
    assert_int_equal(ptraced_attach(fix->session, 2, NULL), 0);
    assert_true(fix->fake->interactive);
    assert_int_equal(ptraced_attach_thread(fix->session, 4, NULL), 1);
    assert_true(fix->fake->interactive);

    assert_int_equal(ptraced_set_interactive(fix->client, false), 0);
    assert_int_equal(ptraced_attach(fix->session, 2, NULL), -ETIMEDOUT);
}

static int setup_impatient(void **state)
{
    setenv("SYSTEMD_BUS_TIMEOUT", "1s", true);
    return setup(state);
}

static int teardown_impatient(void **state)
{
    unsetenv("SYSTEMD_BUS_TIMEOUT");
    return teardown(state);
}

static void test_filter(void **state)
{
    const char *kinds[] = {"exec", NULL};
    struct fixture *fix = *state;

    assert_int_equal(ptraced_set_event_filter(fix->session, 2, kinds, kinds), 0);
    assert_string_equal(fix->fake->options, "events=exec stops=exec");
    assert_int_equal(ptraced_set_event_filter(fix->session, 2, NULL, NULL), 0);
    assert_string_equal(fix->fake->options,
                        "events=stop,signal,group-stop,clone,fork,vfork,vfork-done,exec,exit,"
                        "exited,killed,lost,step,breakpoint,watchpoint stops=");
}

static void test_control(void **state)
{
    struct fixture *fix = *state;

    fix->fake->calls[0] = '\0';
    assert_int_equal(ptraced_continue(fix->session, 0, 0), 0);
    assert_int_equal(ptraced_continue(fix->session, 2, 0), 0);
    assert_int_equal(ptraced_continue(fix->session, 2, 2), 1);
    assert_int_equal(ptraced_detach(fix->session, 2, 3), 0);
    assert_int_equal(ptraced_detach(fix->session, 0, 0), 0);
    assert_int_equal(ptraced_detach(fix->session, 2, 0), 0);
    assert_int_equal(ptraced_interrupt(fix->session, 2, 2), 1);
    assert_string_equal(fix->fake->calls,
                        "Continue Continue Continue Detach DetachAll Detach Interrupt");
    assert_int_equal(ptraced_interrupt(fix->session, 0, 2), -EINVAL);
    assert_int_equal(ptraced_interrupt(fix->session, -1, 0), -EINVAL);
    assert_int_equal(ptraced_signal(fix->session, 0, SIGTERM), -EINVAL);
}

static void test_lists(void **state)
{
    struct fixture *fix = *state;
    _cleanup_free_string_ struct ptraced_session_info *sessions = NULL;
    _cleanup_free_string_ struct ptraced_tracee_info *tracees = NULL;
    _cleanup_free_string_ struct ptraced_thread_info *threads = NULL;
    ptraced_event **events;

    assert_int_equal(ptraced_list_sessions(fix->client, &sessions), 2);
    assert_string_equal(sessions[0].id, "s1");
    assert_string_equal(sessions[0].name, "first");
    assert_int_equal(sessions[0].uid, 1000);
    assert_string_equal(sessions[1].id, "s22");
    assert_string_equal(sessions[1].name, "");

    assert_int_equal(ptraced_list_tracees(fix->client, &tracees), 0);
    assert_non_null(tracees);

    assert_int_equal(ptraced_list_threads(fix->session, 7, &threads), 2);
    assert_int_equal(threads[1].tid, 8);
    assert_string_equal(threads[0].state, "running");
    assert_string_equal(threads[1].state, "a-state-that-is");

    assert_int_equal(ptraced_session_list_stopped(fix->session, &events), 1);
    assert_int_equal(ptraced_event_get_tid(events[0]), 8);
    ptraced_event_unref(events[0]);
    free(events);
}

static void test_fork(void **state)
{
    struct fixture *fix = *state;
    ptraced_event *e;
    int status;
    pid_t pid;

    pid = fork();
    if (pid == 0)
        _exit(ptraced_ping(fix->client) == -ECHILD && ptraced_process(fix->client) == -ECHILD &&
                      ptraced_session_get_event(fix->session, 0, &e) == -ECHILD &&
                      ptraced_session_close(fix->session) == -ECHILD
                  ? 0
                  : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(ptraced_ping(fix->client), 0);
}

static void test_null_is_accepted(void **state)
{
    assert_null(ptraced_unref(NULL));
    assert_null(ptraced_ref(NULL));
    assert_null(ptraced_session_unref(NULL));
    assert_null(ptraced_session_ref(NULL));
    assert_null(ptraced_event_unref(NULL));
    assert_null(ptraced_event_ref(NULL));
    assert_null(ptraced_spawn_options_free(NULL));
    assert_int_equal(ptraced_set_interactive(NULL, true), -EINVAL);
    assert_int_equal(ptraced_open_address(&(ptraced *){NULL}, NULL), -EINVAL);
    assert_int_equal(ptraced_open_address(&(ptraced *){NULL}, "unix:path=/nonexistent"), -ENOENT);
    assert_int_equal(ptraced_open_fd(&(ptraced *){NULL}, -1), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_session_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session_get_is_the_same_object, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ping_and_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_timeouts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_event_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signal_handler_ends_the_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounded_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_of_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session_removed_by_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_of_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attach_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_somebody_who_is_asked_may_take_his_time,
                                        setup_impatient, teardown_impatient),
        cmocka_unit_test_setup_teardown(test_filter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_control, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
        cmocka_unit_test(test_null_is_accepted),
    };

    return cmocka_run_group_tests_name("libptraced", tests, NULL, NULL);
}
