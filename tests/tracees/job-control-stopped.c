/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process of three threads, to be stopped by SIGSTOP or SIGTSTP and continued by SIGCONT.
 * "report" is answered by continued=N, the SIGCONTs that its handler has seen. */
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static atomic_uint continued;

static void on_continue(int signo)
{
    atomic_fetch_add(&continued, 1);
}

static void *bystander(void *argument)
{
    for (;;)
        pause();
    return NULL;
}

int main(void)
{
    const struct sigaction action = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
    char line[64];

    tracee_start();
    if (sigaction(SIGCONT, &action, NULL) < 0)
        tracee_fail("sigaction");
    tracee_thread(bystander, NULL);
    tracee_thread(bystander, NULL);
    tracee_say("ready");
    while (tracee_listen(line))
        tracee_say("continued=%u", atomic_load(&continued));
    return 0;
}
