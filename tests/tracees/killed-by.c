/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kills itself with a signal, at once or, with `wait`, at the end of its standard input.
 *
 *     killed-by SIGNO [wait] */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

int main(int argc, char **argv)
{
    const struct rlimit no_core = {0};
    char line[64];

    tracee_start();
    if (setrlimit(RLIMIT_CORE, &no_core) < 0)
        tracee_fail("setrlimit");
    tracee_say("ready");
    if (argc > 2)
        (void)tracee_listen(line);
    kill(getpid(), (int)tracee_number(argc, argv, 1, SIGKILL));
    for (;;)
        pause();
}
