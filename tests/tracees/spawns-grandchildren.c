/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* At each line it makes a tree of processes, each with a thread of its own, and waits for it.
 *
 *     spawns-grandchildren [DEPTH [WIDTH]]
 *
 * The answer is processes=N wrong=N: how many it made, and how many of its own children did not
 * exit with their depth. */
#include <errno.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static void *mayfly(void *argument)
{
    return NULL;
}

/* Makes what is below a process; returns how many children ended wrongly. */
static unsigned grow(unsigned long depth, unsigned long width)
{
    unsigned wrong = 0;

    pthread_join(tracee_thread(mayfly, NULL), NULL);
    for (unsigned long i = 0; depth > 0 && i < width; i++) {
        pid_t pid = fork();
        int status;

        if (pid < 0)
            tracee_fail("fork");
        if (pid == 0) {
            tracee_start();
            _exit(grow(depth - 1, width) == 0 ? (int)depth : 99);
        }
        while (waitpid(pid, &status, 0) < 0)
            if (errno != EINTR)
                tracee_fail("waitpid");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != (int)depth)
            wrong++;
    }
    return wrong;
}

static unsigned long tree_size(unsigned long depth, unsigned long width)
{
    unsigned long n = 0, level = 1;

    for (unsigned long i = 0; i < depth; i++) {
        level *= width;
        n += level;
    }
    return n;
}

int main(int argc, char **argv)
{
    unsigned long depth = tracee_number(argc, argv, 1, 2);
    unsigned long width = tracee_number(argc, argv, 2, 2);
    char line[64];

    tracee_start();
    tracee_say("ready");
    while (tracee_listen(line)) {
        unsigned wrong = grow(depth, width);

        tracee_say("processes=%lu wrong=%u", tree_size(depth, width), wrong);
    }
    return 0;
}
