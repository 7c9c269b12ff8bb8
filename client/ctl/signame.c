/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/signame.h"

/* The kernel's first real-time signal. SIGRTMIN is libc's, which keeps some for itself; a traced
 * program may well use those. */
#define KERNEL_SIGRTMIN 32

char *signame(int signo, char buffer[static SIGNAME_MAX])
{
    const char *abbreviation = sigabbrev_np(signo);

    if (abbreviation)
        snprintf(buffer, SIGNAME_MAX, "SIG%s", abbreviation);
    else if (signo == SIGRTMIN)
        snprintf(buffer, SIGNAME_MAX, "SIGRTMIN");
    else if (signo > SIGRTMIN && signo <= SIGRTMAX)
        snprintf(buffer, SIGNAME_MAX, "SIGRTMIN+%d", signo - SIGRTMIN);
    else if (signo >= KERNEL_SIGRTMIN && signo < SIGRTMIN)
        snprintf(buffer, SIGNAME_MAX, "SIGRT_%d", signo - KERNEL_SIGRTMIN);
    else
        snprintf(buffer, SIGNAME_MAX, "signal %d", signo);
    return buffer;
}
