/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/tracer/confine.h"

/* What a confined process can do, and what it cannot. Each test is a child, which ends with the
 * line in which it fails. */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            _exit(__LINE__ % 255 + 1);                                                             \
    } while (0)

static void assert_confined(void (*function)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        CHECK(confine_self() == 0);
        function();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void uses_what_a_tracer_drops(void)
{
    char *const argv[] = {(char *)"true", NULL};

    CHECK(execv("/bin/true", argv) == -1 && errno == EPERM);
    CHECK(socket(AF_UNIX, SOCK_STREAM, 0) == -1 && errno == EPERM);
    CHECK(unlink("/nothing") == -1 && errno == EPERM);
    CHECK(mkdir("/nothing", 0700) == -1 && errno == EPERM);
    CHECK(chmod("/nothing", 0700) == -1 && errno == EPERM);
    CHECK(open("/tmp", O_WRONLY | O_CREAT, 0600) == -1 && errno == EPERM);
    CHECK(setuid(getuid()) == -1 && errno == EPERM);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static void uses_what_it_needs(void)
{
    pid_t child = fork();
    siginfo_t si;
    int fd;

    if (child == 0)
        for (;;)
            pause();
    CHECK(child > 0);
    CHECK(ptrace(PTRACE_SEIZE, child, NULL, NULL) == 0);
    CHECK(ptrace(PTRACE_INTERRUPT, child, NULL, NULL) == 0);
    CHECK(waitid(P_PID, (id_t)child, &si, WSTOPPED) == 0 && si.si_pid == child);
    fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && close(fd) == 0);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitid(P_PID, (id_t)child, &si, WEXITED) == 0);
}

static void uses_it_in_a_child(void)
{
    char *const argv[] = {(char *)"true", NULL};
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0)
        _exit(execv("/bin/true", argv) == -1 && errno == EPERM ? 0 : 1);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void what_a_tracer_drops_is_refused(void **state)
{
    assert_confined(uses_what_a_tracer_drops);
}

static void what_it_needs_is_there(void **state)
{
    assert_confined(uses_what_it_needs);
}

static void its_children_are_confined_too(void **state)
{
    assert_confined(uses_it_in_a_child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_tracer_drops_is_refused),
        cmocka_unit_test(what_it_needs_is_there),
        cmocka_unit_test(its_children_are_confined_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
