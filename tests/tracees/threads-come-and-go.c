/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts and ends threads all the time, and counts them. Some threads start another one and end
 * before it does.
 *
 *     threads-come-and-go [MAKERS [PAUSE_USEC]]
 *
 * "report" is answered by created=N ended=N; at "quit" it ends all threads, says its last report
 * and exits. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "tests/tracees/tracee.h"

#define MAKERS_MAX 64

static atomic_ulong created, ended;
static atomic_bool ending;
static unsigned long pause_usec;

static pthread_t start(void *(*function)(void *), uintptr_t argument)
{
    atomic_fetch_add(&created, 1);
    return tracee_thread(function, (void *)argument);
}

/* The argument is a seed, whose low bits say how long to live and whether to leave an heir. */
static void *mayfly(void *argument)
{
    uintptr_t seed = (uintptr_t)argument;

    if (seed % 8 != 0)
        tracee_sleep_usec(seed % 512);
    if (seed % 4 == 1)
        pthread_detach(start(mayfly, seed / 4));
    atomic_fetch_add(&ended, 1);
    return NULL;
}

static void *maker(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;

    while (!atomic_load(&ending)) {
        pthread_join(start(mayfly, (uintptr_t)rand_r(&seed)), NULL);
        tracee_sleep_usec(pause_usec);
    }
    atomic_fetch_add(&ended, 1);
    return NULL;
}

static void report(void)
{
    tracee_say("created=%lu ended=%lu", atomic_load(&created), atomic_load(&ended));
}

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 4);
    pthread_t makers[MAKERS_MAX];
    char line[64];

    tracee_start();
    pause_usec = tracee_number(argc, argv, 2, 1000);
    if (n > MAKERS_MAX)
        n = MAKERS_MAX;
    for (unsigned long i = 0; i < n; i++)
        makers[i] = start(maker, i + 1);

    tracee_say("ready");
    while (tracee_listen(line))
        report();

    atomic_store(&ending, true);
    for (unsigned long i = 0; i < n; i++)
        pthread_join(makers[i], NULL);
    while (atomic_load(&ended) != atomic_load(&created))
        tracee_sleep_usec(1000);
    report();
    return 0;
}
