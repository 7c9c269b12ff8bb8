/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that never enter the kernel.
 *
 *     busy-loop [THREADS]
 *
 * "report" is answered by progress=N, which is greater than at the report before as long as the
 * threads run. */
#include <stdatomic.h>
#include <stddef.h>

#include "tests/tracees/tracee.h"

static atomic_ulong progress;

__attribute__((noreturn)) static void *spin(void *argument)
{
    for (;;)
        atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
}

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 1);
    char line[64];

    tracee_start();
    for (unsigned long i = 0; i < n; i++)
        tracee_thread(spin, NULL);
    tracee_say("ready");
    while (tracee_listen(line))
        tracee_say("progress=%lu", atomic_load(&progress));
    return 0;
}
