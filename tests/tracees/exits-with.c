/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Exits with a status, at once or, with `wait`, at the end of its standard input.
 *
 *     exits-with STATUS [wait] */
#include "tests/tracees/tracee.h"

int main(int argc, char **argv)
{
    char line[64];

    tracee_start();
    tracee_say("ready");
    if (argc > 2)
        (void)tracee_listen(line);
    return (int)tracee_number(argc, argv, 1, 0);
}
