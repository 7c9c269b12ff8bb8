/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many threads that wait for nothing, and some that spin.
 *
 *     many-threads THREADS [SPINNING]
 *
 * THREADS counts all of them, the main thread too. */
#include <stdatomic.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static atomic_ulong started;

static void *wait_for_ever(void *argument)
{
    atomic_fetch_add(&started, 1);
    for (;;)
        pause();
    return NULL;
}

static void *spin(void *argument)
{
    volatile unsigned long n = 0;

    atomic_fetch_add(&started, 1);
    for (;;)
        n++;
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 10);
    unsigned long spinning = tracee_number(argc, argv, 2, 0);
    char line[64];

    tracee_start();
    for (unsigned long i = 1; i < n; i++)
        tracee_thread(i <= spinning ? spin : wait_for_ever, NULL);
    while (atomic_load(&started) + 1 < n)
        tracee_sleep_usec(1000);
    tracee_say("ready");
    while (tracee_listen(line))
        ;
    return 0;
}
