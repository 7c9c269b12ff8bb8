/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* At a line it makes children that stay until it ends.
 *
 *     keeps-children [N]
 *
 * The answer is children=N. */
#include <unistd.h>

#include "tests/tracees/tracee.h"

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 4);
    char line[64];

    tracee_start();
    tracee_say("ready");
    while (tracee_listen(line)) {
        for (unsigned long i = 0; i < n; i++) {
            pid_t pid = fork();

            if (pid < 0)
                tracee_fail("fork");
            if (pid == 0) {
                tracee_start();
                for (;;)
                    pause();
            }
        }
        tracee_say("children=%lu", n);
    }
    return 0;
}
