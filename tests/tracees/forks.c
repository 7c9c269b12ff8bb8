/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* At each line it makes a child, which exits with 5, and waits for it.
 *
 *     forks fork|vfork|clone|silent
 *
 * `clone` takes SIGUSR1 as the child's exit signal, `silent` none at all. The answer is child=PID
 * status=N signals=N, the last being the exit signals that arrived so far. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define CHILD_STATUS 5

static atomic_uint signals;

static void on_signal(int signo)
{
    atomic_fetch_add(&signals, 1);
}

static pid_t make_child(const char *kind)
{
    pid_t pid;

    if (strcmp(kind, "vfork") == 0) {
        pid = vfork();
        if (pid == 0)
            _exit(CHILD_STATUS);
        return pid;
    }
    if (strcmp(kind, "fork") == 0)
        pid = fork();
    else
        pid = (pid_t)syscall(SYS_clone, strcmp(kind, "clone") == 0 ? SIGUSR1 : 0, NULL, NULL, NULL,
                             NULL);
    if (pid == 0)
        _exit(CHILD_STATUS);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, __WALL) < 0)
        if (errno != EINTR)
            tracee_fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    const char *kind = argc > 1 ? argv[1] : "fork";
    char line[64];

    tracee_start();
    if (sigaction(SIGUSR1, &action, NULL) < 0 || sigaction(SIGCHLD, &action, NULL) < 0)
        tracee_fail("sigaction");
    tracee_say("ready");
    while (tracee_listen(line)) {
        pid_t pid = make_child(kind);
        int status;

        if (pid < 0)
            tracee_fail(kind);
        status = wait_for(pid);
        tracee_say("child=%d status=%d signals=%u", pid, status, atomic_load(&signals));
    }
    return 0;
}
