/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus-api/macro.h"
#include "client/lib/ptraced/ptraced.h"

/* libptraced with a broker, a keeper and tracers of its own. */

/* The processes of a connection inherit its environment, which tells them from all others. */
#define MARK "PTRACED_TEST_MARK"

struct fixture {
    ptraced *client;
    ptraced_session *session;
    pid_t sleeper;
};

static pid_t start_sleeper(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        unsetenv(MARK);
        execlp("sleep", "sleep", "60", NULL);
        _exit(127);
    }
    return pid;
}

static void set_mark(void)
{
    char mark[32];

    snprintf(mark, sizeof(mark), "%d", getpid());
    setenv(MARK, mark, 1);
}

static int setup(void **state)
{
    struct fixture *fix = calloc(1, sizeof(*fix));

    assert_non_null(fix);
    fix->sleeper = start_sleeper();
    set_mark();
    assert_int_equal(ptraced_open_embedded(&fix->client), 0);
    unsetenv(MARK);
    assert_int_equal(ptraced_session_new(fix->client, "test", 0, &fix->session), 0);
    *state = fix;
    return 0;
}

static bool has_mark(const char *pid, const char *mark)
{
    char path[300], environment[65536];
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%s/environ", pid);
    f = fopen(path, "re");
    if (!f)
        return false;
    n = fread(environment, 1, sizeof(environment), f);
    fclose(f);
    return memmem(environment, n, mark, strlen(mark) + 1) != NULL;
}

/* Counts the processes that a connection of process `opener` started; keeps some of them. */
static unsigned find_started(pid_t opener, pid_t *pids, unsigned room)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    char mark[64];
    unsigned n = 0;

    assert_non_null(proc);
    snprintf(mark, sizeof(mark), MARK "=%d", opener);
    while ((entry = readdir(proc)))
        if (isdigit((unsigned char)entry->d_name[0]) && atoi(entry->d_name) != opener &&
            has_mark(entry->d_name, mark)) {
            if (n < room)
                pids[n] = atoi(entry->d_name);
            n++;
        }
    closedir(proc);
    return n;
}

static void assert_all_end(pid_t opener)
{
    for (unsigned i = 0; i < 500 && find_started(opener, NULL, 0) > 0; i++)
        usleep(10000);
    assert_int_equal(find_started(opener, NULL, 0), 0);
}

static int teardown(void **state)
{
    struct fixture *fix = *state;

    ptraced_session_unref(fix->session);
    ptraced_unref(fix->client);
    assert_all_end(getpid());
    kill(fix->sleeper, SIGKILL);
    waitpid(fix->sleeper, NULL, 0);
    free(fix);
    return 0;
}

/* The value of a field of /proc/PID/status. */
static const char *status_field(pid_t pid, const char *field, char *value, size_t size)
{
    char path[64], line[256];
    size_t n = strlen(field);
    FILE *f;

    *value = '\0';
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, field, n) == 0 && line[n] == ':') {
            line[strcspn(line, "\n")] = '\0';
            snprintf(value, size, "%.*s", (int)size - 1, line + n + 2);
            break;
        }
    if (f)
        fclose(f);
    return value;
}

static void assert_untouched(pid_t pid)
{
    char value[64];

    for (unsigned i = 0; i < 500 && strcmp(status_field(pid, "TracerPid", value, 64), "0") != 0;
         i++)
        usleep(10000);
    assert_string_equal(status_field(pid, "TracerPid", value, sizeof(value)), "0");
    for (unsigned i = 0; i < 500 && *status_field(pid, "State", value, sizeof(value)) != 'S'; i++)
        usleep(10000);
    assert_string_equal(status_field(pid, "State", value, sizeof(value)), "S (sleeping)");
}

static ptraced_event *take_event(struct fixture *fix)
{
    ptraced_event *e;

    assert_int_equal(ptraced_session_get_event(fix->session, 5000000, &e), 0);
    return e;
}

/* The next event has to be of that kind. Returns whether it stopped the thread. */
static bool next_event(struct fixture *fix, const char *kind)
{
    _cleanup_(ptraced_event_unrefp) ptraced_event *e = take_event(fix);

    assert_string_equal(ptraced_event_get_kind_name(e), kind);
    return ptraced_event_get_stopped(e);
}

static void assert_no_event(struct fixture *fix)
{
    assert_int_equal(ptraced_session_get_event(fix->session, 100000, &(ptraced_event *){NULL}),
                     -EAGAIN);
}

/* Neither the caller's children, nor in its session, nor with anything else of it. */
static void test_started_processes(void **state)
{
    struct fixture *fix = *state;
    pid_t pids[8];
    unsigned n;

    assert_int_equal(ptraced_ping(fix->client), 0);
    n = find_started(getpid(), pids, ELEMENTSOF(pids));
    assert_true(n >= 2 && n <= ELEMENTSOF(pids));
    for (unsigned i = 0; i < n; i++) {
        char value[64], path[64], cwd[64] = "";

        assert_int_not_equal(atoi(status_field(pids[i], "PPid", value, 64)), getpid());
        assert_int_not_equal(getsid(pids[i]), getsid(0));
        snprintf(path, sizeof(path), "/proc/%d/cwd", pids[i]);
        assert_int_equal(readlink(path, cwd, sizeof(cwd) - 1), 1);
        assert_string_equal(cwd, "/");
    }
    assert_int_equal(waitpid(fix->sleeper, NULL, WNOHANG | __WALL), 0);
}

static void *reap_all(void *userdata)
{
    for (;;) {
        if (waitpid(-1, NULL, __WALL) < 0)
            usleep(100);
    }
    return NULL;
}

/* Callers that do what they like about children. */
static void test_careless_callers(void **state)
{
    _cleanup_(ptraced_unrefp) ptraced *first = NULL, *second = NULL;
    pthread_t reaper;

    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(ptraced_open_embedded(&first), 0);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(ptraced_ping(first), 0);

    assert_int_equal(pthread_create(&reaper, NULL, reap_all, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(ptraced_open_embedded(&second), 0);
        assert_int_equal(ptraced_ping(second), 0);
        second = ptraced_unref(second);
    }
    /* Its wait is where it can be ended. */
    pthread_cancel(reaper);
    pthread_join(reaper, NULL);
}

static void test_spawn_stopped(void **state)
{
    struct ptraced_attach_options a = {.size = sizeof(a), .stop = true};
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)"exit 3", NULL};
    _cleanup_(ptraced_spawn_options_freep) ptraced_spawn_options *o = NULL;
    _cleanup_free_string_ struct ptraced_thread_info *threads = NULL;
    struct fixture *fix = *state;
    int status;
    pid_t pid;

    assert_int_equal(ptraced_spawn_options_new(&o), 0);
    assert_int_equal(ptraced_spawn_options_set_argv(o, argv), 0);
    assert_int_equal(ptraced_spawn_options_set_attach(o, &a), 0);
    assert_int_equal(ptraced_spawn(fix->session, o, &pid), 0);
    assert_int_equal(ptraced_list_threads(fix->session, pid, &threads), 1);
    assert_int_equal(threads[0].tid, pid);
    assert_string_equal(threads[0].state, "stopped");
    assert_true(next_event(fix, "exec"));
    assert_no_event(fix);

    assert_int_equal(ptraced_continue(fix->session, pid, pid), 1);
    assert_false(next_event(fix, "exit"));
    assert_false(next_event(fix, "exited"));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

static void test_spawn_running(void **state)
{
    const char *kinds[] = {"exited", NULL};
    struct ptraced_attach_options a = {.size = sizeof(a), .kinds = kinds};
    char *argv[] = {(char *)"true", NULL};
    _cleanup_(ptraced_spawn_options_freep) ptraced_spawn_options *o = NULL;
    struct fixture *fix = *state;
    pid_t pid;

    assert_int_equal(ptraced_spawn_options_new(&o), 0);
    assert_int_equal(ptraced_spawn_options_set_argv(o, argv), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(ptraced_spawn(fix->session, o, &pid), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_false(next_event(fix, "exec"));
        assert_false(next_event(fix, "exit"));
        assert_false(next_event(fix, "exited"));
    }
    assert_int_equal(ptraced_spawn_options_set_attach(o, &a), 0);
    assert_int_equal(ptraced_spawn(fix->session, o, &pid), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(next_event(fix, "exited"));
    assert_no_event(fix);
}

static void test_spawn_failure_leaves_nothing(void **state)
{
    char *argv[] = {(char *)"/no/such/program", NULL};
    _cleanup_(ptraced_spawn_options_freep) ptraced_spawn_options *o = NULL;
    _cleanup_free_string_ struct ptraced_tracee_info *tracees = NULL;
    struct fixture *fix = *state;
    pid_t pid = -1;

    assert_int_equal(ptraced_spawn_options_new(&o), 0);
    assert_int_equal(ptraced_spawn_options_set_argv(o, argv), 0);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(ptraced_spawn(fix->session, o, &pid), -ENOENT);
    assert_int_equal(pid, -1);
    assert_no_event(fix);
    assert_int_equal(ptraced_list_tracees(fix->client, &tracees), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), 0);
}

static void test_attach(void **state)
{
    _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;
    struct fixture *fix = *state;
    ptraced_event **stopped;
    int64_t signo;

    assert_int_equal(ptraced_attach(fix->session, fix->sleeper, NULL), 0);
    assert_no_event(fix);
    assert_int_equal(ptraced_interrupt(fix->session, fix->sleeper, 0), 0);
    assert_true(next_event(fix, "stop"));
    assert_int_equal(ptraced_interrupt(fix->session, fix->sleeper, fix->sleeper), 0);
    assert_int_equal(ptraced_session_list_stopped(fix->session, &stopped), 1);
    assert_int_equal(ptraced_event_get_tid(stopped[0]), fix->sleeper);
    ptraced_event_unref(stopped[0]);
    free(stopped);
    assert_int_equal(ptraced_continue(fix->session, fix->sleeper, fix->sleeper), 1);
    assert_int_equal(ptraced_continue(fix->session, fix->sleeper, fix->sleeper), 0);

    assert_int_equal(ptraced_signal(fix->session, fix->sleeper, SIGWINCH), 0);
    e = take_event(fix);
    assert_int_equal(ptraced_event_get_kind(e), PTRACED_EVENT_SIGNAL);
    assert_int_equal(ptraced_event_get_detail(e, "signal", &signo), 0);
    assert_int_equal(signo, SIGWINCH);
    assert_int_equal(ptraced_detach(fix->session, fix->sleeper, 0), 0);
    assert_false(next_event(fix, "lost"));
    assert_int_equal(ptraced_detach(fix->session, fix->sleeper, 0), -EUNATCH);
    assert_untouched(fix->sleeper);
}

static void test_stop_and_kill(void **state)
{
    struct ptraced_attach_options a = {.size = sizeof(a), .stop = true};
    _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;
    struct fixture *fix = *state;
    int status;

    assert_int_equal(ptraced_attach(fix->session, fix->sleeper, &a), 0);
    assert_true(next_event(fix, "stop"));
    assert_int_equal(ptraced_signal(fix->session, fix->sleeper, SIGKILL), 0);
    assert_int_equal(waitpid(fix->sleeper, &status, 0), fix->sleeper);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* Some kernels report the exit of a killed thread, some its end alone. */
    e = take_event(fix);
    if (ptraced_event_get_kind(e) == PTRACED_EVENT_EXIT) {
        ptraced_event_unref(e);
        e = take_event(fix);
    }
    assert_int_equal(ptraced_event_get_kind(e), PTRACED_EVENT_KILLED);
    assert_int_equal(ptraced_attach(fix->session, fix->sleeper, NULL), -ESRCH);
}

/* Whatever a caller dies of, what it traced runs on, and what it started ends. */
static void test_death_of_the_caller(void **state)
{
    struct ptraced_attach_options a = {.size = sizeof(a), .stop = true};
    struct fixture *fix = *state;
    ptraced_session *s;
    ptraced *p;
    int status;
    pid_t pid;

    pid = fork();
    if (pid == 0) {
        set_mark();
        if (ptraced_open_embedded(&p) < 0 || ptraced_session_new(p, NULL, 0, &s) < 0 ||
            ptraced_attach(s, fix->sleeper, &a) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_all_end(pid);
    assert_untouched(fix->sleeper);
}

static int only_with_programs(void)
{
    ptraced *p;
    int r = ptraced_open_embedded(&p);

    if (r < 0) {
        fprintf(stderr, "Embedded mode cannot be tested: %s\n", strerror(-r));
        return r;
    }
    ptraced_unref(p);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_started_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_careless_callers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spawn_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spawn_running, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spawn_failure_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attach, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_and_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death_of_the_caller, setup, teardown),
    };

    /* 77 is "skipped" to meson. */
    if (only_with_programs() == -ENOENT)
        return 77;
    return cmocka_run_group_tests_name("embedded mode", tests, NULL, NULL);
}
