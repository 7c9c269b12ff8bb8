/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>

#include "daemon/trace/trace.h"

/* The thread has done a step. Tells the sessions whose step is over. */
void trap_on_step(struct trace *t, struct tracee *tracee);

/* At a stop that an interrupt or a group-stop has made: whether the SIGTRAP of a breakpoint or of a
 * step still waits behind it. The kernel looks for traps before signals
 * (kernel/signal.c:get_signal()), so the thread stands with its program counter behind the
 * breakpoint, and whoever let it go now would have it killed. The next resume brings that SIGTRAP,
 * before any instruction. */
bool trap_is_pending(struct tracee *tracee);

/* At a signal-delivery-stop for SIGTRAP. Where it is none of the program's, but of a step or a
 * breakpoint of ours, tells the sessions whose it is, sets tracee->stop to what it is, and returns
 * true: the signal is not to be delivered. */
bool trap_on_stop(struct trace *t, struct tracee *tracee, const siginfo_t *info);
