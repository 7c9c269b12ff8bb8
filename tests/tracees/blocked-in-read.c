/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread, blocked in read() of its standard input; each line is said again. A read that fails
 * (EINTR without any handler, say) ends it with 98. */
#include <string.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

int main(void)
{
    char buffer[64];
    ssize_t n;

    tracee_start();
    tracee_say("ready");
    while ((n = read(STDIN_FILENO, buffer, sizeof(buffer) - 1)) > 0) {
        buffer[n] = '\0';
        buffer[strcspn(buffer, "\n")] = '\0';
        tracee_say("%s", buffer);
    }
    return n < 0 ? 98 : 0;
}
