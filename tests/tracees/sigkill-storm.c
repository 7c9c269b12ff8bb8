/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes children of five threads each and kills them at random moments, all the time. "report" is
 * answered by killed=N wrong=N, the latter being children that did not die of SIGKILL. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static atomic_uint killed, wrong;

static void *mayfly(void *argument)
{
    return NULL;
}

__attribute__((noreturn)) static void child(void)
{
    tracee_start();
    for (;;) {
        pthread_t threads[4];

        for (unsigned i = 0; i < 4; i++)
            threads[i] = tracee_thread(mayfly, NULL);
        for (unsigned i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
}

static void *storm(void *argument)
{
    unsigned seed = 1;

    for (;;) {
        pid_t pid = fork();
        int status;

        if (pid < 0)
            tracee_fail("fork");
        if (pid == 0)
            child();
        tracee_sleep_usec((unsigned long)rand_r(&seed) % 5000);
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0)
            if (errno != EINTR)
                tracee_fail("waitpid");
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            atomic_fetch_add(&wrong, 1);
        atomic_fetch_add(&killed, 1);
    }
    return NULL;
}

int main(void)
{
    char line[64];

    tracee_start();
    tracee_thread(storm, NULL);
    tracee_say("ready");
    while (tracee_listen(line))
        tracee_say("killed=%u wrong=%u", atomic_load(&killed), atomic_load(&wrong));
    return 0;
}
