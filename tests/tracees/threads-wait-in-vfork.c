/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that are in vfork(), where the kernel cannot stop them, until a line tells their children
 * to end; then it says "over". The main thread is not in vfork.
 *
 *     threads-wait-in-vfork THREADS */
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static atomic_ulong waiting, over;
static int ends[2];

static void *wait_in_vfork(void *argument)
{
    pid_t pid = vfork();
    char byte;

    if (pid < 0)
        tracee_fail("vfork");
    if (pid == 0) {
        tracee_start();
        close(ends[1]); /* of its own table */
        atomic_fetch_add(&waiting, 1);
        (void)!read(ends[0], &byte, 1);
        _exit(0);
    }
    if (waitpid(pid, NULL, 0) != pid)
        tracee_fail("waitpid");
    atomic_fetch_add(&over, 1);
    return NULL;
}

static void wait_for(atomic_ulong *count, unsigned long n)
{
    while (atomic_load(count) < n)
        tracee_sleep_usec(1000);
}

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 5);
    char line[64];

    tracee_start();
    if (pipe(ends) < 0)
        tracee_fail("pipe");
    for (unsigned long i = 0; i < n; i++)
        tracee_thread(wait_in_vfork, NULL);
    wait_for(&waiting, n);
    tracee_say("ready");
    (void)tracee_listen(line);
    close(ends[1]);
    wait_for(&over, n);
    tracee_say("over");
    while (tracee_listen(line))
        ;
    return 0;
}
