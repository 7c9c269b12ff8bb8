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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus-api/event.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "tests/unit/test-lib-fake.h"

/* libptraced on a bus that it shares with others: a service that comes and goes, and strangers who
 * send what looks like the service's. */

/* With the place of the socket. */
#define CONFIGURATION                                                                              \
    "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"         \
    " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"                          \
    "<busconfig><type>session</type><listen>unix:path=%s/socket</listen>\n"                        \
    "<policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\n"             \
    "<allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>\n"

struct fixture {
    char folder[64];
    char address[256];
    pid_t daemon;
    struct fake *fake;
    ptraced *client;
    ptraced_session *session;
};

static _Noreturn void run_daemon(struct fixture *fix, int out)
{
    char argument[128];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    snprintf(argument, sizeof(argument), "--config-file=%s/bus.conf", fix->folder);
    execlp("dbus-daemon", "dbus-daemon", argument, "--nofork", "--nopidfile", "--print-address",
           NULL);
    _exit(127);
}

static void start_daemon(struct fixture *fix)
{
    char path[128];
    FILE *config;
    int out[2];
    ssize_t n;

    strcpy(fix->folder, P_tmpdir "/ptraced-test-XXXXXX");
    assert_non_null(mkdtemp(fix->folder));
    snprintf(path, sizeof(path), "%s/bus.conf", fix->folder);
    config = fopen(path, "we");
    assert_non_null(config);
    fprintf(config, CONFIGURATION, fix->folder);
    fclose(config);

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    fix->daemon = fork();
    if (fix->daemon == 0)
        run_daemon(fix, out[1]);
    close(out[1]);
    n = read(out[0], fix->address, sizeof(fix->address) - 1);
    close(out[0]);
    fix->address[n > 0 ? n - 1 : 0] = '\0';
}

static void remove_file(struct fixture *fix, const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", fix->folder, name);
    unlink(path);
}

static int setup(void **state)
{
    struct fixture *fix = calloc(1, sizeof(*fix));

    assert_non_null(fix);
    start_daemon(fix);
    *state = fix;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fix = *state;

    ptraced_session_unref(fix->session);
    ptraced_unref(fix->client);
    kill(fix->daemon, SIGKILL);
    waitpid(fix->daemon, NULL, 0);
    if (fix->fake)
        fake_free(fix->fake);
    remove_file(fix, "socket");
    remove_file(fix, "bus.conf");
    rmdir(fix->folder);
    free(fix);
    return 0;
}

static void begin(struct fixture *fix)
{
    /* Without a bus there is nothing to test. */
    if (!fix->address[0])
        skip();
    assert_int_equal(ptraced_open_address(&fix->client, fix->address), 0);
}

static void begin_session(struct fixture *fix)
{
    begin(fix);
    fix->fake = fake_new_on_bus(fix->address);
    assert_int_equal(ptraced_session_new(fix->client, "test", 0, &fix->session), 0);
}

static void stop_service(struct fixture *fix)
{
    assert_true(ptraced_signal(fix->session, 7, SIGKILL) < 0);
    fake_free(fix->fake);
    fix->fake = NULL;
}

static void assert_event(struct fixture *fix, unsigned serial)
{
    _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;

    assert_int_equal(ptraced_session_get_event(fix->session, 5000000, &e), 0);
    assert_int_equal(ptraced_event_get_serial(e), serial);
}

static void assert_no_event(struct fixture *fix)
{
    assert_int_equal(ptraced_session_get_event(fix->session, 100000, &(ptraced_event *){NULL}),
                     -EAGAIN);
}

static void test_nobody_answers(void **state)
{
    struct fixture *fix = *state;
    const char *name, *message;

    begin(fix);
    assert_int_equal(ptraced_ping(fix->client), -EHOSTUNREACH);
    ptraced_get_error(fix->client, &name, &message);
    assert_string_equal(name, "org.freedesktop.DBus.Error.ServiceUnknown");
    assert_non_null(message);
}

static void test_events(void **state)
{
    struct fixture *fix = *state;

    begin_session(fix);
    assert_int_equal(ptraced_ping(fix->client), 0);
    assert_int_equal(ptraced_signal(fix->session, 7, 2), 0);
    assert_event(fix, 1);
    assert_event(fix, 2);
    assert_no_event(fix);
    assert_int_equal(ptraced_session_close(fix->session), 0);
}

static void forge(sd_bus *bus, const char *to, const char *path, const char *interface,
                  const char *member, const char *a, const char *b, const char *c)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct ptraced_event_record e = {.serial = 666, .session = "s1", .pid = 7, .tid = 7};

    strcpy(e.kind, "stop");
    assert_true(sd_bus_message_new_signal(bus, &m, path, interface, member) >= 0);
    assert_true(sd_bus_message_set_destination(m, to) >= 0);
    if (!a)
        assert_true(ptraced_event_append(m, &e) >= 0);
    else if (c)
        assert_true(sd_bus_message_append(m, "sss", a, b, c) >= 0);
    else
        assert_true(sd_bus_message_append(m, "so", a, b) >= 0);
    assert_true(sd_bus_send(bus, m, NULL) >= 0);
}

/* A stranger on the bus can send anything to the client, and changes nothing by it. */
static void test_forged_signals(void **state)
{
    struct fixture *fix = *state;
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *stranger = NULL;
    const char *own;

    begin_session(fix);
    assert_true(sd_bus_new(&stranger) >= 0);
    assert_true(sd_bus_set_address(stranger, fix->address) >= 0);
    assert_true(sd_bus_set_bus_client(stranger, true) >= 0);
    assert_true(sd_bus_start(stranger) >= 0);

    for (unsigned i = 1; i < 10; i++) {
        char to[16];

        snprintf(to, sizeof(to), ":1.%u", i);
        forge(stranger, to, PTRACED_SESSION_PREFIX "/s1", PTRACED_SESSION_INTERFACE, "ThreadEvent",
              NULL, NULL, NULL);
        assert_true(sd_bus_get_unique_name(stranger, &own) >= 0);
        forge(stranger, to, "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged",
              PTRACED_BUS_NAME, "", own);
        forge(stranger, to, PTRACED_SESSION_PREFIX "/s1", PTRACED_SESSION_INTERFACE, "ThreadEvent",
              NULL, NULL, NULL);
        forge(stranger, to, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "SessionRemoved", "s1",
              PTRACED_SESSION_PREFIX "/s1", NULL);
    }
    assert_true(sd_bus_flush(stranger) >= 0);
    assert_no_event(fix);
    assert_int_equal(ptraced_signal(fix->session, 7, 1), 0);
    assert_event(fix, 1);
}

static void test_service_comes_back(void **state)
{
    struct fixture *fix = *state;
    struct timespec ts;
    uint64_t until, now;

    begin_session(fix);
    stop_service(fix);
    assert_no_event(fix);
    /* It is waited for, but not for ever. */
    assert_int_equal(ptraced_get_timeout(fix->client, &until), 0);
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    assert_true(until > now && until < now + 10000000);

    fix->fake = fake_new_on_bus(fix->address);
    assert_no_event(fix);
    assert_int_equal(fix->fake->subscriptions, 1);
    assert_int_equal(ptraced_signal(fix->session, 7, 1), 0);
    assert_event(fix, 1);
    assert_int_equal(ptraced_get_timeout(fix->client, &until), 0);
    assert_true(until == UINT64_MAX);
}

/* The new service does not know the session. */
static void test_session_is_gone_with_the_service(void **state)
{
    struct fixture *fix = *state;

    begin_session(fix);
    stop_service(fix);
    fix->fake = fake_new_on_bus(fix->address);
    fix->fake->forgetful = true;
    assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX, &(ptraced_event *){NULL}),
                     -ENXIO);
}

/* Ten seconds, by which a keeper without a broker has released everything. */
static void test_service_stays_away(void **state)
{
    struct fixture *fix = *state;

    begin_session(fix);
    stop_service(fix);
    assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX, &(ptraced_event *){NULL}),
                     -ENXIO);
}

static void test_bus_ends(void **state)
{
    struct fixture *fix = *state;

    begin_session(fix);
    kill(fix->daemon, SIGKILL);
    assert_int_equal(ptraced_session_get_event(fix->session, UINT64_MAX, &(ptraced_event *){NULL}),
                     -ECONNRESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nobody_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forged_signals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_service_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session_is_gone_with_the_service, setup, teardown),
        cmocka_unit_test_setup_teardown(test_service_stays_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bus_ends, setup, teardown),
    };

    return cmocka_run_group_tests_name("libptraced on a bus", tests, NULL, NULL);
}
