/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "daemon/trace/ledger.h"

/* What a dead tracer's threads need so that they did not notice: the signals that it had taken out
 * of the kernel's hands and not passed on, their program's own text, debug registers cleared.
 * Three steps, at two moments of the tracer's end. */

struct repair;

/* While the tracer stands in its own PTRACE_EVENT_EXIT, before the kernel lets its tracees go:
 * finds out what there is to do. Reads the ledger and /proc, never blocks. *ret is NULL where
 * nothing is to be done. The ledger has to stay mapped. */
int repair_plan(struct ledger *l, struct repair **ret);

/* Whether the tracer has to stand still until repair_hold() is done. */
bool repair_needs_hold(const struct repair *r);

/* Still in the exit stop: stops the processes whose text or debug registers were changed, so that
 * nobody runs when the tracer is gone, and gives them their text back. Takes some milliseconds, and
 * where threads are slow to stop three seconds at the most. Where it is called, repair_run() is to
 * follow in the same process. */
void repair_hold(struct repair *r);

/* After the tracer is dead: attaches to each thread for a moment and sets right what it finds, and
 * has each signal delivered with its original siginfo. May block on a tracee, so it runs in a
 * process of its own that is bounded in time; a failure with one thread does not keep the others
 * from theirs. */
void repair_run(struct repair *r);

/* Lets those go on that repair_hold() has stopped, in whatever state. Async-signal-safe: for a
 * repair that takes too long. */
void repair_give_up(const struct repair *r);

/* Accepts NULL; returns NULL. */
struct repair *repair_free(struct repair *r);

/* Whether a signal has to be given back: not a fault, which the instruction raises anew. Pure. */
bool repair_signal_is_needed(const siginfo_t *info);
