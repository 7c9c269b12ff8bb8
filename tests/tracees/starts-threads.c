/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts a thread whenever it is told to, and keeps it.
 *
 *     starts-threads
 *
 * "more" is answered by threads=N, the main thread included, when the new one runs, and "report" by
 * threads=N. */
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static atomic_uint n_threads = 1;

__attribute__((noreturn)) static void *wait_for_ever(void *argument)
{
    atomic_fetch_add(&n_threads, 1);
    for (;;)
        pause();
}

static void start_one(void)
{
    unsigned before = atomic_load(&n_threads);

    tracee_thread(wait_for_ever, NULL);
    while (atomic_load(&n_threads) == before)
        tracee_sleep_usec(1000);
}

int main(void)
{
    char line[64];

    tracee_start();
    tracee_say("ready");
    while (tracee_listen(line)) {
        if (strcmp(line, "more") == 0)
            start_one();
        tracee_say("threads=%u", atomic_load(&n_threads));
    }
    return 0;
}
