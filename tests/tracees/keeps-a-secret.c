/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Has "a secret" in its memory, and in the end says with whose rights it ran, whether its memory
 * was changed, and how often SIGUSR1 came.
 *
 *     keeps-a-secret
 *
 * Says "gained" at first, and the rest when it is told to end. */
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "tests/tracees/marker.h"
#include "tests/tracees/tracee.h"

TRACEE_MARKER('a', ' ', 's', 'e', 'c', 'r', 'e', 't');

static volatile sig_atomic_t n_signals;

static void on_signal(int signo)
{
    n_signals++;
}

static int count_changes(void)
{
    static const char wanted[] = "a secret";
    int n = 0;

    for (size_t i = 0; i < sizeof(marker); i++)
        n += marker[i] != wanted[i];
    return n;
}

int main(void)
{
    char line[64];

    if (signal(SIGUSR1, on_signal) == SIG_ERR)
        tracee_fail("signal");
    tracee_say("gained");
    tracee_listen(line);
    tracee_say("euid=%u changes=%d signals=%d", geteuid(), count_changes(), n_signals);
    return 0;
}
