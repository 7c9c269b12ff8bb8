/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Its threads end all the time, and the process itself at a random moment: whoever attaches meets
 * threads that have just gone.
 *
 *     dies-while-attached [STATUS [USEC_MAX [SEED]]]
 *
 * It waits for nothing: after "ready" it lives at most USEC_MAX. */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define THREADS 16

static unsigned long usec_max;

static void *mayfly(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;

    tracee_sleep_usec((unsigned long)rand_r(&seed) % usec_max);
    return NULL;
}

int main(int argc, char **argv)
{
    int status = (int)tracee_number(argc, argv, 1, 0);
    unsigned seed = (unsigned)tracee_number(argc, argv, 3, 1);

    tracee_start();
    usec_max = tracee_number(argc, argv, 2, 5000);
    if (usec_max == 0)
        usec_max = 1;
    for (unsigned i = 0; i < THREADS; i++)
        tracee_thread(mayfly, (void *)(uintptr_t)rand_r(&seed));
    tracee_say("ready");
    tracee_sleep_usec((unsigned long)rand_r(&seed) % usec_max);
    _exit(status);
}
