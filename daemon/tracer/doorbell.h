/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* How one thread blocks in waitid(2) for its tracees and still hears its sockets and timers.
 *
 * The doorbell is a child of the tracer that the tracer traces like the rest. It shares the
 * tracer's descriptors (CLONE_FILES) and sleeps in poll(2) on the event loop's own one. When that
 * is ready it sends itself a signal, which stops it, and the stop is what waitid() reports. It
 * stays stopped, and the ring is not lost, until the tracer has served the event loop and resumes
 * it without the signal; if something is ready then, it rings again at once. There is no moment at
 * which a request could be missed, and the path from stop to resume has no second descriptor to
 * look at: signalfd and epoll in its place cost a quarter of the system-call stops a second. What
 * the event loop waits for has to be ready for any process that asks; a signalfd is not
 * (terminate.c).
 *
 * As a child that is traced by its own parent it stands before all tracees in the kernel's wait
 * order, so requests are heard under any flood of stops. */

struct doorbell {
    pid_t pid; /* 0: none */
};

/* Starts it on a pollable descriptor. Negative errno. */
int doorbell_start(struct doorbell *b, int poll_fd);

/* Whether a wait's result is the doorbell's. */
static inline bool doorbell_is(const struct doorbell *b, const siginfo_t *wait)
{
    return wait->si_pid == b->pid;
}

/* After the event loop has been served and is ready to be polled again: listens on. -ESRCH: it has
 * died. */
int doorbell_rearm(const struct doorbell *b, const siginfo_t *wait);

/* Ends it. */
void doorbell_stop(struct doorbell *b);
