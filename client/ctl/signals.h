/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/* Signals as something to poll for: handlers that write into a pipe.
 *
 * Neither a blocked mask with a signalfd nor SIG_IGN would do: both are inherited by a program that
 * is started meanwhile, while handlers are not. What was ignored when ptracectl
 * started (nohup, a background job) stays ignored, for both. One set exists at a time. */

#define SIGNALS_MAX 8u

struct signals {
    int pipe[2];
    size_t n;
    int caught[SIGNALS_MAX];
    struct sigaction before[SIGNALS_MAX];
};

#define SIGNALS_NONE ((struct signals){.pipe = {-1, -1}})

/* Catches a zero-terminated list of signals. SIGCHLD is caught even where it was ignored, since
 * the kernel would throw a child's status away. Ended by signals_close(), which puts back what was
 * there before. */
int signals_open(struct signals *s, const int *list);
void signals_close(struct signals *s);

/* The set of those that have come since the last call: bit (signo - 1). Does not block. */
uint64_t signals_take(struct signals *s);

#define SIGNAL_BIT(signo) (UINT64_C(1) << ((signo)-1))
