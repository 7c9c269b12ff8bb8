/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "daemon/trace/ledger.h"

/* What a dead tracer's threads need so that they did not notice: the signals that it had taken out
 * of the kernel's hands and not passed on. Two steps, at two moments of the tracer's end. */

struct repair;

/* While the tracer stands in its own PTRACE_EVENT_EXIT, before the kernel lets its tracees go:
 * finds out which signals would be swallowed. Reads the ledger and /proc, never blocks. *ret is
 * NULL where nothing is to be done. */
int repair_plan(const struct ledger *l, struct repair **ret);

/* After the tracer is dead: attaches to each thread for a moment and has the signal delivered with
 * its original siginfo. May block on a tracee, so it runs in a process of its own that is bounded
 * in time; a failure with one thread does not keep the others from theirs. */
void repair_run(struct repair *r);

/* Accepts NULL; returns NULL. */
struct repair *repair_free(struct repair *r);

/* Whether a signal has to be given back: not a fault, which the instruction raises anew. Pure. */
bool repair_signal_is_needed(const siginfo_t *info);
