/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* At each line it stops itself with SIGSTOP, and says "continued" when it goes on. */
#include <signal.h>

#include "tests/tracees/tracee.h"

int main(void)
{
    char line[64];

    tracee_start();
    tracee_say("ready");
    while (tracee_listen(line)) {
        if (raise(SIGSTOP) != 0)
            tracee_fail("raise");
        tracee_say("continued");
    }
    return 0;
}
