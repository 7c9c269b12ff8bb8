/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A thread that is not the leader executes a program (this one again), while others live.
 *
 *     exec-from-other-thread [leader]
 *
 * At each "go" it says old-tid=TID and the new program says "ready" again. With `leader` it is the
 * main thread that executes. */
#include <string.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static char **arguments;

__attribute__((noreturn)) static void exec_again(void)
{
    tracee_say("old-tid=%d", gettid());
    execv("/proc/self/exe", arguments);
    tracee_fail("execv");
}

static void *bystander(void *argument)
{
    for (;;)
        pause();
    return NULL;
}

static void *other(void *argument)
{
    char line[64];

    if (!tracee_listen(line))
        _exit(0);
    exec_again();
    return NULL;
}

int main(int argc, char **argv)
{
    bool leader = argc > 1 && strcmp(argv[1], "leader") == 0;
    char line[64];

    tracee_start();
    arguments = argv;
    tracee_thread(bystander, NULL);
    tracee_thread(bystander, NULL);
    tracee_say("ready");
    if (!leader) {
        tracee_thread(other, NULL);
        bystander(NULL);
    }
    if (tracee_listen(line))
        exec_again();
    return 0;
}
