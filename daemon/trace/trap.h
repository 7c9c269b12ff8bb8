/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>

#include "daemon/trace/trace.h"

/* At a signal-delivery-stop for SIGTRAP. Where it is none of the program's, but of a step or a
 * breakpoint of ours, tells the sessions whose it is, sets tracee->stop to what it is, and returns
 * true: the signal is not to be delivered. */
bool trap_on_stop(struct trace *t, struct tracee *tracee, const siginfo_t *info);
