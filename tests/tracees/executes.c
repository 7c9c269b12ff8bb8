/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Executes the program that a line names, which then says "ready" itself. */
#include <unistd.h>

#include "tests/tracees/tracee.h"

int main(int argc, char **argv)
{
    char line[64];

    tracee_start();
    tracee_say("ready");
    if (!tracee_listen(line))
        return 0;
    execl(line, line, NULL);
    tracee_fail("execl");
}
