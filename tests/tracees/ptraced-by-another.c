/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A raw tracer and its tracee, which nobody else can attach to. It says "ready PID" with the
 * tracee's pid; its own pid is the tracer's. */
#include <signal.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

int main(void)
{
    char line[64];
    pid_t pid;

    tracee_start();
    pid = fork();
    if (pid < 0)
        tracee_fail("fork");
    if (pid == 0) {
        tracee_start();
        for (;;)
            pause();
    }
    if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_EXITKILL) < 0)
        tracee_fail("ptrace(PTRACE_SEIZE)");
    tracee_say("ready %d", pid);
    (void)tracee_listen(line);
    return 0;
}
