/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parent is in vfork(), where the kernel cannot stop it, until its child is told to end by a
 * line; then it says child=PID status=3. A second thread is not in vfork.
 *
 *     vfork-parent-waits [later]
 *
 * With `later` it says "ready" before it makes the child, too, and waits for a line then. */
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static void *bystander(void *argument)
{
    for (;;)
        pause();
    return NULL;
}

int main(int argc, char **argv)
{
    char line[64];
    pid_t pid;
    int status;

    tracee_start();
    tracee_thread(bystander, NULL);
    if (argc > 1) {
        tracee_say("ready");
        (void)tracee_listen(line);
    }

    pid = vfork();
    if (pid < 0)
        tracee_fail("vfork");
    if (pid == 0) {
        /* It shares the parent's memory and says "ready" for it: the parent cannot. */
        tracee_start();
        tracee_say("ready");
        (void)tracee_listen(line);
        _exit(3);
    }
    if (waitpid(pid, &status, 0) != pid)
        tracee_fail("waitpid");
    tracee_say("child=%d status=%d", pid, WEXITSTATUS(status));
    (void)tracee_listen(line);
    return 0;
}
