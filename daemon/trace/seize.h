/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

/* PTRACE_SEIZE that does not sleep for ever.
 *
 * The kernel attaches under the cred_guard_mutex of the target's process (kernel/ptrace.c:
 * ptrace_attach()), and execve(2) holds that from its first look at the file until the new program
 * runs: while the file comes from a server that does not answer, and while it waits for the
 * process's other threads to die. Those that we trace stop on their way (PTRACE_EVENT_EXIT) and
 * then have to be reaped, both by the very thread that sleeps in PTRACE_SEIZE: neither would ever
 * wake.
 *
 * A signal does not end that sleep, since the kernel restarts the call (-ERESTARTNOINTR). So a
 * timer's handler jumps out of it. Whether the call had succeeded in that moment, /proc tells.
 *
 * One attach at a time, on the tracing thread; the handler finds the attach by the timer's value.
 * Takes SIGALRM for itself until seize_end(). */
struct seize {
    timer_t timer;
    sigjmp_buf out;
    volatile sig_atomic_t inside;
};

/* How long one try may sleep, and how often it is tried again. */
#define SEIZE_PATIENCE_NSEC 20000000L
#define SEIZE_TRIES_MAX 100u

int seize_begin(struct seize *s);
void seize_end(struct seize *s);

/* As ptrace_ops_seize(), and -EAGAIN after SEIZE_PATIENCE_NSEC or up to twice that: nothing was
 * attached, the process is in execve(2). */
int seize_try(struct seize *s, pid_t tid, unsigned long options);
