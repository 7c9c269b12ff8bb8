/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes its name all the time, so that two reads of /proc never agree. */
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "tests/tracees/tracee.h"

__attribute__((noreturn)) static void *renamer(void *argument)
{
    for (unsigned i = 0;; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%s%u", i % 2 ? ") Z (" : "\xff\x01", i % 1000);
        if (prctl(PR_SET_NAME, name) < 0)
            tracee_fail("prctl(PR_SET_NAME)");
        tracee_sleep_usec(100);
    }
}

int main(void)
{
    char line[64];

    tracee_start();
    tracee_thread(renamer, NULL);
    tracee_say("ready");
    while (tracee_listen(line))
        ;
    return 0;
}
