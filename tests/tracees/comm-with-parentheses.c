/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Its names hold what breaks parsers of /proc/PID/stat, logs and D-Bus strings: spaces,
 * parentheses, newlines, backslashes and bytes that are no UTF-8. The second thread, whose tid it
 * says after "ready", has another such name. */
#include <stdint.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static void set_name(const char *name)
{
    if (prctl(PR_SET_NAME, name) < 0)
        tracee_fail("prctl(PR_SET_NAME)");
}

static void *second(void *argument)
{
    set_name("\xff) Z 1\n\\x41 (");
    tracee_say("ready %d", gettid());
    for (;;)
        pause();
    return NULL;
}

int main(void)
{
    char line[64];

    tracee_start();
    set_name("a) R 1 (b\xc3\xa9\xfe");
    tracee_thread(second, NULL);
    (void)tracee_listen(line);
    return 0;
}
