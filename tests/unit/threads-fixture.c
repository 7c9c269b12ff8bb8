/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/threads-fixture.h"
#include "tests/unit/trace-fixture.h"

static volatile struct threads *threads;

void threads_tell(volatile struct threads *where)
{
    threads = where;
}

__attribute__((noreturn)) static void *counts(void *userdata)
{
    int me = (int)(intptr_t)userdata;

    threads->tids[me] = (pid_t)syscall(SYS_gettid);
    for (;;)
        threads->counters[me]++;
}

int four_threads_count(int ready)
{
    pthread_t thread;

    for (intptr_t i = 1; i < COUNTING_THREADS; i++)
        pthread_create(&thread, NULL, counts, (void *)i);
    for (int i = 1; i < COUNTING_THREADS; i++)
        while (!threads->tids[i])
            usleep(500);
    child_is_ready(ready);
    counts((void *)0);
}

static void *ends(void *unused)
{
    return NULL;
}

int threads_come_and_go(int ready)
{
    pthread_t thread;

    child_is_ready(ready);
    for (;; threads->births++)
        if (pthread_create(&thread, NULL, ends, NULL) == 0)
            pthread_join(thread, NULL);
}
