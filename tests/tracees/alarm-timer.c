/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A timer ticks a thousand times a second through a handler with SA_RESTART, while the main thread
 * reads. "report" is answered by ticks=N eintr=N. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static atomic_uint ticks;

static void on_tick(int signo)
{
    atomic_fetch_add(&ticks, 1);
}

int main(void)
{
    const struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    const struct itimerval timer = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000};
    unsigned eintr = 0;
    char c;

    tracee_start();
    if (sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &timer, NULL) < 0)
        tracee_fail("timer");
    tracee_say("ready");
    for (;;) {
        ssize_t n = read(STDIN_FILENO, &c, 1);

        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            eintr++;
        else if (n < 0)
            tracee_fail("read");
        else if (c == '\n')
            tracee_say("ticks=%u eintr=%u", atomic_load(&ticks), eintr);
    }
}
