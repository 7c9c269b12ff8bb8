/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A child sends it queued real-time signals with consecutive numbers, and it counts what arrives.
 *
 *     signal-counter [PAUSE_USEC]
 *
 * At "report" the sender pauses until all is there (or two seconds have gone), the answer is sent=N
 * received=N lost=N doubled=N reordered=N other=N, and the sender goes on. `other` are signals that
 * nobody should have sent: a SIGTRAP or SIGCONT that a tracer has let slip, say. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define NUMBERS (1u << 22)
#define SIGNO (SIGRTMIN + 2)

/* Shared by sender and receiver. */
struct shared {
    atomic_uint sent;
    atomic_bool pause, paused;
};

static struct shared *shared;
static uint64_t seen[NUMBERS / 64];
static atomic_uint received, doubled, reordered, other;
static unsigned last;

/* Numbers start at 1. All signals are blocked in the handler, so it has the counters to itself. */
static void on_number(int signo, siginfo_t *info, void *context)
{
    unsigned n = (unsigned)info->si_value.sival_int % NUMBERS;
    uint64_t bit = UINT64_C(1) << (n % 64);

    if (info->si_code != SI_QUEUE) {
        other++;
        return;
    }
    if (seen[n / 64] & bit)
        doubled++;
    else
        received++;
    seen[n / 64] |= bit;
    if (n < last)
        reordered++;
    last = n;
}

static void on_other(int signo)
{
    other++;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_other, .sa_flags = SA_RESTART};

    sigfillset(&action.sa_mask);
    for (int signo = 1; signo < SIGRTMAX; signo++) {
        /* A real fault must kill, and these two cannot be caught. */
        if (signo == SIGKILL || signo == SIGSTOP || signo == SIGSEGV || signo == SIGBUS ||
            (signo >= 32 && signo < SIGRTMIN))
            continue;
        if (sigaction(signo, &action, NULL) < 0)
            tracee_fail("sigaction");
    }
    action.sa_sigaction = on_number;
    action.sa_flags |= SA_SIGINFO;
    if (sigaction(SIGNO, &action, NULL) < 0)
        tracee_fail("sigaction");
}

__attribute__((noreturn)) static void send_numbers(pid_t to, unsigned long pause_usec)
{
    tracee_start();
    for (unsigned n = 1;;) {
        const union sigval value = {.sival_int = (int)n};

        if (atomic_load(&shared->pause)) {
            atomic_store(&shared->paused, true);
            tracee_sleep_usec(1000);
            continue;
        }
        atomic_store(&shared->paused, false);
        if (sigqueue(to, SIGNO, value) < 0) {
            /* The queue is full for now; the number is sent later. */
            if (errno != EAGAIN)
                _exit(0);
            tracee_sleep_usec(1000);
            continue;
        }
        atomic_store(&shared->sent, n++);
        tracee_sleep_usec(pause_usec);
    }
}

static void report(void)
{
    unsigned sent;

    atomic_store(&shared->pause, true);
    while (!atomic_load(&shared->paused))
        tracee_sleep_usec(500);
    sent = atomic_load(&shared->sent);
    for (unsigned i = 0; i < 2000 && received < sent; i++)
        tracee_sleep_usec(1000);
    tracee_say("sent=%u received=%u lost=%u doubled=%u reordered=%u other=%u", sent, received,
               sent - received, doubled, reordered, other);
    atomic_store(&shared->pause, false);
    atomic_store(&shared->paused, false);
}

int main(int argc, char **argv)
{
    unsigned long pause_usec = tracee_number(argc, argv, 1, 200);
    pid_t self = getpid(), sender;
    char line[64];

    tracee_start();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        tracee_fail("mmap");
    /* Both may touch the memory at once, so it is there before. */
    *shared = (struct shared){0};
    sender = fork();
    if (sender < 0)
        tracee_fail("fork");
    if (sender == 0) {
        atomic_store(&shared->pause, true);
        send_numbers(self, pause_usec);
    }
    while (!atomic_load(&shared->paused))
        tracee_sleep_usec(500);
    catch_signals();
    atomic_store(&shared->pause, false);
    tracee_say("ready %d", sender);
    while (tracee_listen(line))
        report();
    kill(sender, SIGKILL);
    return 0;
}
