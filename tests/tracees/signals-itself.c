/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads each of which sends itself one signal after the other, so that each stops as often as its
 * tracer lets it.
 *
 *     signals-itself [THREADS]
 *
 * "report" is answered by least=N most=N total=N: what the threads have come to since the last. */
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define THREADS_MAX 1024u

static atomic_ulong counts[THREADS_MAX];

/* SIGURG, which does nothing unless it is caught, but stops a traced thread all the same. */
__attribute__((noreturn)) static void *send_signals(void *count)
{
    const pid_t pid = getpid(), tid = gettid();

    for (;;) {
        syscall(SYS_tgkill, pid, tid, SIGURG);
        atomic_fetch_add_explicit((atomic_ulong *)count, 1, memory_order_relaxed);
    }
}

static void report(unsigned long n)
{
    unsigned long least = -1UL, most = 0, total = 0;

    for (unsigned long i = 0; i < n; i++) {
        unsigned long count = atomic_exchange(&counts[i], 0);

        least = count < least ? count : least;
        most = count > most ? count : most;
        total += count;
    }
    tracee_say("least=%lu most=%lu total=%lu", least, most, total);
}

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 1);
    char line[64];

    tracee_start();
    n = n > THREADS_MAX ? THREADS_MAX : n;
    for (unsigned long i = 0; i < n; i++)
        tracee_thread(send_signals, &counts[i]);
    tracee_say("ready");
    while (tracee_listen(line))
        report(n);
    return 0;
}
