/* SPDX-License-Identifier: LGPL-2.1-or-later */
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
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "tests/unit/test-lib-fake.h"

/* ptraced_spawn() and the start of embedded mode, as far as they need no tracer. */

struct fixture {
    struct fake *fake;
    ptraced *client;
    ptraced_session *session;
    ptraced_spawn_options *options;
    unsigned descriptors;
};

static int setup(void **state)
{
    struct fixture *fix = calloc(1, sizeof(*fix));

    assert_non_null(fix);
    fix->fake = fake_new(&fix->client);
    assert_int_equal(ptraced_session_new(fix->client, "test", 0, &fix->session), 0);
    assert_int_equal(ptraced_spawn_options_new(&fix->options), 0);
    fix->descriptors = count_descriptors();
    *state = fix;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fix = *state;

    ptraced_spawn_options_free(fix->options);
    ptraced_session_unref(fix->session);
    ptraced_unref(fix->client);
    fake_free(fix->fake);
    free(fix);
    return 0;
}

/* The fake has the pidfd of an attach for a moment too. */
static void assert_descriptors(const struct fixture *fix)
{
    for (unsigned i = 0; i < 100 && count_descriptors() != fix->descriptors; i++)
        usleep(10000);
    assert_int_equal(count_descriptors(), fix->descriptors);
}

static void set_shell(struct fixture *fix, const char *script)
{
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};

    assert_int_equal(ptraced_spawn_options_set_argv(fix->options, argv), 0);
}

/* Starts what is set with its output into a pipe, waits for its end, and returns the output. */
static const char *run(struct fixture *fix, char *output, size_t size)
{
    size_t n = 0;
    int out[2], status;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(ptraced_spawn_options_set_stdio(fix->options, -1, out[1], -1), 0);
    assert_int_equal(ptraced_spawn(fix->session, fix->options, &pid), 0);
    close(out[1]);
    while ((got = read(out[0], output + n, size - n - 1)) > 0)
        n += (size_t)got;
    output[n] = '\0';
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_descriptors(fix);
    return output;
}

static void assert_fails(struct fixture *fix, int error, const char *part)
{
    const char *message;
    pid_t pid = -1;

    assert_int_equal(ptraced_spawn(fix->session, fix->options, &pid), error);
    assert_int_equal(pid, -1);
    ptraced_get_error(fix->client, NULL, &message);
    assert_non_null(message);
    if (!strstr(message, part))
        fail_msg("\"%s\" does not say \"%s\"", message, part);
    /* Nothing is left: no child, no descriptor, no event. */
    assert_int_equal(waitpid(-1, NULL, __WALL), -1);
    assert_int_equal(errno, ECHILD);
    assert_descriptors(fix);
    assert_int_not_equal(ptraced_session_get_event(fix->session, 0, &(ptraced_event *){NULL}), 0);
}

static void test_surroundings(void **state)
{
    char *environment[] = {(char *)"A=1", (char *)"B=two words", NULL};
    struct fixture *fix = *state;
    char output[256];

    set_shell(fix, "pwd; echo \"$A,$B,$PATH\"");
    assert_int_equal(ptraced_spawn_options_set_directory(fix->options, "/usr"), 0);
    assert_int_equal(ptraced_spawn_options_set_environment(fix->options, environment), 0);
    assert_memory_equal(run(fix, output, sizeof(output)), "/usr\n1,two words,", 17);
}

static void test_event_and_filter(void **state)
{
    const char *kinds[] = {"signal", NULL};
    struct ptraced_attach_options a = {.size = sizeof(a), .kinds = kinds};
    struct fixture *fix = *state;
    ptraced_event *e;
    char output[16];

    /* By default: the exec is reported, and has stopped nothing that the caller has to continue. */
    set_shell(fix, ":");
    fix->fake->calls[0] = '\0';
    run(fix, output, sizeof(output));
    assert_string_equal(fix->fake->calls, "AttachProcessFD SetEventFilter Continue");
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), 0);
    assert_int_equal(ptraced_event_get_kind(e), PTRACED_EVENT_EXEC);
    assert_false(ptraced_event_get_stopped(e));
    ptraced_event_unref(e);

    /* Only what was asked for. */
    assert_int_equal(ptraced_spawn_options_set_attach(fix->options, &a), 0);
    run(fix, output, sizeof(output));
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), -EAGAIN);

    /* Stopped at the exec. */
    a.stop = true;
    assert_int_equal(ptraced_spawn_options_set_attach(fix->options, &a), 0);
    fix->fake->calls[0] = '\0';
    run(fix, output, sizeof(output));
    assert_string_equal(fix->fake->calls, "AttachProcessFD SetEventFilter");
    assert_string_equal(fix->fake->options, "events=signal stops=");
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), 0);
    assert_true(ptraced_event_get_stopped(e));
    ptraced_event_unref(e);

    /* Stopped at every exec: the filter is right from the start. */
    a.stop = false;
    a.kinds = NULL;
    a.stops = (const char *[]){"exec", NULL};
    assert_int_equal(ptraced_spawn_options_set_attach(fix->options, &a), 0);
    fix->fake->calls[0] = '\0';
    run(fix, output, sizeof(output));
    assert_string_equal(fix->fake->calls, "AttachProcessFD");
    assert_string_equal(fix->fake->options, "stops=exec");
}

/* A stop before the exec is nobody's but the library's. */
static void test_early_stop(void **state)
{
    struct fixture *fix = *state;
    ptraced_event *e;
    char output[16];

    fix->fake->spawn = FAKE_SPAWN_EARLY;
    set_shell(fix, ":");
    run(fix, output, sizeof(output));
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), 0);
    assert_int_equal(ptraced_event_get_kind(e), PTRACED_EVENT_EXEC);
    ptraced_event_unref(e);
}

/* The program runs, and says why nobody traces it. */
static void test_lost_at_exec(void **state)
{
    struct fixture *fix = *state;
    ptraced_event *e;
    pid_t pid;

    fix->fake->spawn = FAKE_SPAWN_LOST;
    set_shell(fix, ":");
    assert_int_equal(ptraced_spawn(fix->session, fix->options, &pid), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &e), 0);
    assert_int_equal(ptraced_event_get_kind(e), PTRACED_EVENT_LOST);
    ptraced_event_unref(e);
}

static void test_unsubscribed_session(void **state)
{
    struct fixture *fix = *state;
    char output[16];

    fix->session = ptraced_session_unref(fix->session);
    assert_int_equal(ptraced_session_get(fix->client, "s1", false, &fix->session), 0);
    fix->fake->subscriptions = fix->fake->unsubscriptions = 0;
    set_shell(fix, ":");
    run(fix, output, sizeof(output));
    assert_int_equal(fix->fake->subscriptions, 1);
    assert_int_equal(fix->fake->unsubscriptions, 1);
    assert_int_equal(ptraced_session_get_event(fix->session, 0, &(ptraced_event *){NULL}), -EAGAIN);
}

/* What is told is why the program did not start, and not what else went wrong then. */
static void test_failure_in_unsubscribed_session(void **state)
{
    char *missing[] = {(char *)"no-such-program", NULL};
    struct fixture *fix = *state;

    fix->session = ptraced_session_unref(fix->session);
    assert_int_equal(ptraced_session_get(fix->client, "s1", false, &fix->session), 0);
    fix->fake->unwilling = true;
    fix->fake->spawn = FAKE_SPAWN_SILENT;
    ptraced_spawn_options_set_argv(fix->options, missing);
    assert_fails(fix, -ENOENT, "Failed to execute no-such-program");
}

static void test_failures(void **state)
{
    char *missing[] = {(char *)"no-such-program", NULL};
    char *missing_path[] = {(char *)"/no/such/program", NULL};
    char *directory[] = {(char *)"/usr", NULL};
    char *empty[] = {(char *)"", NULL};
    struct fixture *fix = *state;

    assert_fails(fix, -EINVAL, "no program");
    fix->fake->spawn = FAKE_SPAWN_SILENT;
    ptraced_spawn_options_set_argv(fix->options, missing);
    assert_fails(fix, -ENOENT, "Failed to execute no-such-program: No such file");
    ptraced_spawn_options_set_argv(fix->options, missing_path);
    assert_fails(fix, -ENOENT, "/no/such/program");
    ptraced_spawn_options_set_argv(fix->options, empty);
    assert_fails(fix, -ENOENT, "name is empty");
    ptraced_spawn_options_set_argv(fix->options, directory);
    assert_fails(fix, -EACCES, "/usr: Permission denied");

    set_shell(fix, ":");
    assert_int_equal(ptraced_spawn_options_set_directory(fix->options, "/no/such"), 0);
    assert_fails(fix, -ENOENT, "directory /no/such");
    assert_int_equal(ptraced_spawn_options_set_directory(fix->options, NULL), 0);
    assert_int_equal(ptraced_spawn_options_set_terminal(fix->options, 0), 0);
    assert_int_equal(ptraced_spawn_options_set_stdio(fix->options, 999, -1, -1), 0);
    assert_fails(fix, -EBADF, "Failed to prepare");
    assert_int_equal(ptraced_spawn_options_set_stdio(fix->options, -1, -1, -1), 0);
    assert_int_equal(ptraced_spawn_options_set_terminal(fix->options, -1), 0);

    fix->fake->spawn = FAKE_SPAWN_REFUSE;
    assert_fails(fix, -EPERM, "for you");
    fix->fake->spawn = FAKE_SPAWN_VANISH;
    fix->descriptors--;
    assert_fails(fix, -ECONNRESET, "has ended");
}

/* The kernel says "No such file" of a script that is there. */
static void test_no_interpreter(void **state)
{
    char path[] = "/tmp/ptraced-test-XXXXXX";
    char *argv[] = {path, NULL};
    struct fixture *fix = *state;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(dprintf(fd, "#!/no/such/interpreter\n"), 23);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    fix->fake->spawn = FAKE_SPAWN_SILENT;
    assert_int_equal(ptraced_spawn_options_set_argv(fix->options, argv), 0);
    assert_fails(fix, -ENOENT, "interpreter");
    unlink(path);
}

static void test_no_terminal(void **state)
{
    struct fixture *fix = *state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    fix->descriptors++;
    set_shell(fix, ":");
    assert_int_equal(ptraced_spawn_options_set_terminal(fix->options, null), 0);
    assert_fails(fix, -ENOTTY, "terminal");
    close(null);
}

static void test_path(void **state)
{
    char *argv[] = {(char *)"script", (char *)"an argument", NULL};
    char template[] = P_tmpdir "/ptraced-test-XXXXXX", path[64], variable[128], output[64];
    struct fixture *fix = *state;
    _cleanup_free_string_ char *before = strdup(getenv("PATH"));
    FILE *script;

    /* No interpreter, and not in the first directory: a script for sh, as execvp(3) has it. */
    assert_non_null(mkdtemp(template));
    snprintf(path, sizeof(path), "%s/script", template);
    script = fopen(path, "we");
    assert_non_null(script);
    fputs("echo \"script $1\"\n", script);
    fclose(script);
    assert_int_equal(chmod(path, 0755), 0);
    snprintf(variable, sizeof(variable), "/no/such:%s:%s", template, before);
    setenv("PATH", variable, 1);

    assert_int_equal(ptraced_spawn_options_set_argv(fix->options, argv), 0);
    run(fix, output, sizeof(output));
    setenv("PATH", before, 1);
    unlink(path);
    rmdir(template);
    assert_string_equal(output, "script an argument\n");
}

static void on_signal(int signo)
{
}

/* The mask and what is ignored are the caller's; what is handled is the default. */
static void test_signals(void **state)
{
    struct sigaction handle = {.sa_handler = on_signal}, before;
    struct fixture *fix = *state;
    sigset_t mask, mask_before;
    char output[4096];

    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mask, &mask_before);
    sigaction(SIGUSR1, &handle, &before);
    signal(SIGALRM, SIG_IGN);

    set_shell(fix, "exec cat /proc/self/status");
    run(fix, output, sizeof(output));
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
    sigaction(SIGUSR1, &before, NULL);
    signal(SIGALRM, SIG_DFL);
    assert_non_null(strstr(output, "SigBlk:\t0000000000000800"));
    assert_non_null(strstr(output, "SigIgn:\t0000000000002000"));
    assert_non_null(strstr(output, "SigCgt:\t0000000000000000"));
}

static void test_addresses(void **state)
{
    struct fixture *fix = *state;
    char output[64];

    set_shell(fix, "cat /proc/self/personality");
    run(fix, output, sizeof(output));
    assert_int_equal(strtoul(output, NULL, 16) & ADDR_NO_RANDOMIZE, 0);
    assert_int_equal(ptraced_spawn_options_set_randomize(fix->options, false), 0);
    run(fix, output, sizeof(output));
    assert_int_not_equal(strtoul(output, NULL, 16) & ADDR_NO_RANDOMIZE, 0);
}

static void test_process_group(void **state)
{
    struct fixture *fix = *state;
    char output[64];
    int pid, group, session;

    /* pid, group and session of the shell itself. */
    set_shell(fix, "read pid comm state parent group session rest </proc/$$/stat; "
                   "echo $pid $group $session");
    run(fix, output, sizeof(output));
    assert_int_equal(sscanf(output, "%d %d %d", &pid, &group, &session), 3);
    assert_int_equal(group, getpgrp());

    assert_int_equal(ptraced_spawn_options_set_process_group(fix->options, true), 0);
    run(fix, output, sizeof(output));
    assert_int_equal(sscanf(output, "%d %d %d", &pid, &group, &session), 3);
    assert_int_equal(group, pid);
    assert_int_equal(session, getsid(0));
}

static int open_terminal(int *ret_other_end)
{
    int other_end = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[64];

    assert_true(other_end >= 0);
    assert_int_equal(grantpt(other_end), 0);
    assert_int_equal(unlockpt(other_end), 0);
    assert_int_equal(ptsname_r(other_end, name, sizeof(name)), 0);
    *ret_other_end = other_end;
    return open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static void test_terminal(void **state)
{
    struct fixture *fix = *state;
    char output[256] = "";
    int master, tty, status, group, foreground, session;
    size_t n = 0;
    ssize_t got;
    pid_t pid;

    tty = open_terminal(&master);
    assert_true(tty >= 0);
    set_shell(fix, "test -t 0 -a -t 1 -a -t 2 && test -w /dev/tty && "
                   "read pid comm state parent group session tty fg rest </proc/$$/stat; "
                   "echo $group $fg $session end; read line; echo got $line");
    assert_int_equal(ptraced_spawn_options_set_terminal(fix->options, tty), 0);
    assert_int_equal(ptraced_spawn_options_set_process_group(fix->options, true), 0);
    assert_int_equal(ptraced_spawn(fix->session, fix->options, &pid), 0);
    close(tty);
    while (!strstr(output, "end") && (got = read(master, output + n, 255 - n)) > 0)
        output[n += (size_t)got] = '\0';
    assert_int_equal(sscanf(output, "%d %d %d", &group, &foreground, &session), 3);
    assert_int_equal(group, pid);
    assert_int_equal(foreground, pid);
    assert_int_equal(session, pid);
    assert_int_equal(write(master, "\3", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    close(master);
}

/* Spawns with `foreground` until something is not as it should be. Returns the step that wasn't. */
static int use_foreground(int tty)
{
    char *missing[] = {(char *)"/no/such/program", NULL};
    struct fixture fix = {0};
    char output[64];
    int group, foreground;

    if (setsid() < 0 || ioctl(tty, TIOCSCTTY, 0) < 0)
        return 1;
    fix.fake = fake_new(&fix.client);
    if (ptraced_session_new(fix.client, "test", 0, &fix.session) < 0 ||
        ptraced_spawn_options_new(&fix.options) < 0 ||
        ptraced_spawn_options_set_process_group(fix.options, true) < 0)
        return 2;

    /* A failure gives it back. */
    fix.fake->spawn = FAKE_SPAWN_SILENT;
    ptraced_spawn_options_set_argv(fix.options, missing);
    if (ptraced_spawn(fix.session, fix.options, &group) != -ENOENT || tcgetpgrp(tty) != getpgrp())
        return 3;

    fix.descriptors = count_descriptors();
    fix.fake->spawn = FAKE_SPAWN_EXEC;
    set_shell(&fix, "read pid comm state parent group session tty fg rest </proc/$$/stat; "
                    "echo $group $fg");
    run(&fix, output, sizeof(output));
    if (sscanf(output, "%d %d", &group, &foreground) != 2 || group == getpgrp() ||
        foreground != group)
        return 4;

    /* Who is in the background has nothing to give. */
    run(&fix, output, sizeof(output));
    if (sscanf(output, "%d %d", &group, &foreground) != 2 || foreground == group)
        return 5;
    return 0;
}

static void test_foreground(void **state)
{
    int master, tty = open_terminal(&master), status;
    pid_t pid;

    assert_true(tty >= 0);
    pid = fork();
    if (pid == 0)
        _exit(use_foreground(tty));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(tty);
    close(master);
}

/* Standard files that are each other's numbers. */
static void test_swapped_stdio(void **state)
{
    struct fixture *fix = *state;
    int saved_in = fcntl(0, F_DUPFD_CLOEXEC, 20), saved_err = fcntl(2, F_DUPFD_CLOEXEC, 20);
    int in[2], err[2], status;
    char got[32] = "";
    pid_t pid;

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    /* 2 is to be read from, 0 is to be written to. */
    assert_int_equal(dup2(in[0], 2), 2);
    assert_int_equal(dup2(err[1], 0), 0);
    set_shell(fix, "read line; echo \"<$line>\" >&2");
    assert_int_equal(ptraced_spawn_options_set_stdio(fix->options, 2, -1, 0), 0);
    status = ptraced_spawn(fix->session, fix->options, &pid);
    dup2(saved_in, 0);
    dup2(saved_err, 2);
    assert_int_equal(status, 0);
    assert_int_equal(write(in[1], "word\n", 5), 5);
    assert_int_equal(read(err[0], got, sizeof(got) - 1), 7);
    assert_string_equal(got, "<word>\n");
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (int i = 0; i < 2; i++) {
        close(in[i]);
        close(err[i]);
    }
    close(saved_in);
    close(saved_err);
}

/* A caller whose children are reaped without it. */
static void test_ignored_children(void **state)
{
    char *missing[] = {(char *)"/no/such/program", NULL};
    struct fixture *fix = *state;
    pid_t pid;

    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(ptraced_spawn_options_set_argv(fix->options, missing), 0);
    fix->fake->spawn = FAKE_SPAWN_SILENT;
    assert_fails(fix, -ENOENT, "Failed to execute");
    fix->fake->spawn = FAKE_SPAWN_EXEC;
    set_shell(fix, ":");
    assert_int_equal(ptraced_spawn(fix->session, fix->options, &pid), 0);
    assert_int_equal(waitpid(pid, NULL, 0), -1);
    signal(SIGCHLD, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_surroundings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_and_filter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_early_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_at_exec, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsubscribed_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_in_unsubscribed_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_interpreter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_process_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_terminal, setup, teardown),
        cmocka_unit_test(test_foreground),
        cmocka_unit_test_setup_teardown(test_swapped_stdio, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ignored_children, setup, teardown),
    };

    return cmocka_run_group_tests_name("ptraced_spawn", tests, NULL, NULL);
}
