/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Catches signals and tells what came with them.
 *
 * "report" is answered by urg=N usr1=N usr2=N trap=N cont=N rt=N, how often each came, and code=N
 * value=N sender=N of the last one. "trap" makes it execute a breakpoint instruction of its own
 * before it reports, "raise" send itself a SIGTRAP, "two" start a second thread that only waits. */
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static volatile unsigned counts[65];
static volatile int last_code, last_value, last_sender;

static void on_signal(int signo, siginfo_t *info, void *context)
{
    counts[signo]++;
    last_code = info->si_code;
    last_value = info->si_value.sival_int;
    last_sender = info->si_pid;
#ifdef __aarch64__
    if (signo == SIGTRAP && info->si_code > 0)
        ((ucontext_t *)context)->uc_mcontext.pc += 4; /* past the instruction */
#endif
}

static void trap(void)
{
#ifdef __aarch64__
    __asm__ volatile("brk #0");
#else
    __asm__ volatile("int3");
#endif
}

static void *wait_for_ever(void *argument)
{
    for (;;)
        pause();
    return NULL;
}

int main(void)
{
    const int signals[] = {SIGURG, SIGUSR1, SIGUSR2, SIGTRAP, SIGCONT, SIGRTMIN + 1};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO};
    char line[64];

    tracee_start();
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], &action, NULL) < 0)
            tracee_fail("sigaction");
    tracee_say("ready");
    while (tracee_listen(line)) {
        if (strcmp(line, "trap") == 0)
            trap();
        if (strcmp(line, "raise") == 0)
            raise(SIGTRAP);
        if (strcmp(line, "two") == 0)
            tracee_thread(wait_for_ever, NULL);
        tracee_say("urg=%u usr1=%u usr2=%u trap=%u cont=%u rt=%u code=%d value=%d sender=%d",
                   counts[SIGURG], counts[SIGUSR1], counts[SIGUSR2], counts[SIGTRAP],
                   counts[SIGCONT], counts[SIGRTMIN + 1], last_code, last_value, last_sender);
    }
    return 0;
}
