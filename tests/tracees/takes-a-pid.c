/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes a child that has a certain pid, one that a dead process had: pid reuse without waiting for
 * it.
 *
 *     takes-a-pid PID
 *
 * It says "ready PID"; where the kernel grants no choice of pids, it says "cannot" and exits. */
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

int main(int argc, char **argv)
{
    pid_t wanted = (pid_t)tracee_number(argc, argv, 1, 0);
    struct clone_args arguments = {
        .exit_signal = SIGCHLD,
        .set_tid = (uintptr_t)&wanted,
        .set_tid_size = 1,
    };
    char line[64];
    pid_t pid;

    tracee_start();
    pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (pid < 0) {
        tracee_say("cannot");
        return 0;
    }
    if (pid == 0) {
        tracee_start();
        for (;;)
            pause();
    }
    tracee_say("ready %d", pid);
    (void)tracee_listen(line);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}
