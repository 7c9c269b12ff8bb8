/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The main thread has ended, as a zombie; two other threads live on.
 *
 *     zombie-leader [STATUS [group|last]]
 *
 * At the next line the process ends with that status: by exit_group() from another thread, or, with
 * `last`, by the end of its last thread. Then the process's status is that of the leader, which
 * ended long ago, or, in newer kernels, that of the last thread; so all threads end with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static int status;
static bool by_last_thread;

__attribute__((noreturn)) static void end_thread(int code)
{
    syscall(SYS_exit, code);
    __builtin_unreachable();
}

static bool leader_is_zombie(void)
{
    char path[64], line[256], *p = NULL;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
    f = fopen(path, "re");
    if (!f)
        tracee_fail(path);
    if (fgets(line, sizeof(line), f))
        p = strrchr(line, ')');
    fclose(f);
    return p && p[2] == 'Z';
}

static void *other(void *argument)
{
    char line[64];

    while (!leader_is_zombie())
        tracee_sleep_usec(1000);
    tracee_say("ready");
    (void)tracee_listen(line);
    if (!by_last_thread)
        _exit(status);
    end_thread(status);
    return NULL;
}

static void *bystander(void *argument)
{
    if (by_last_thread)
        end_thread(status);
    for (;;)
        pause();
    return NULL;
}

int main(int argc, char **argv)
{
    tracee_start();
    status = (int)tracee_number(argc, argv, 1, 0);
    by_last_thread = argc > 2 && strcmp(argv[2], "last") == 0;
    tracee_thread(other, NULL);
    tracee_thread(bystander, NULL);
    end_thread(status);
}
