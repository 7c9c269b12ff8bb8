/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/keeper/tracer.h"
#include "daemon/trace/stop.h"

/* The guardian: traces each tracer for its exit.
 *
 * A tracer that dies, even by SIGKILL, stands still once more in PTRACE_EVENT_EXIT before the
 * kernel lets its tracees go. The guardian then reads from the tracer's ledger what its death would
 * take from its tracees (repair_plan()), lets it die, and gives it back to them (repair_run()), in
 * a child process, since a tracee may block whoever touches it.
 *
 * A tracer without a guardian (its guard_error is not 0) is only waited for. */

/* Collects what a tracer reports, if anything, and lets it go on; never blocks. To be called for
 * every tracer after each SIGCHLD. Returns 1 and the kind of end when it is gone and its pid is
 * free again, else 0. */
int guard_collect(struct tracer *t, struct stop *ret_end);

/* Whether a tracer that stands in its exit has to stay there until guard_run_repair() has got
 * so far; it is then the caller's to start that at once, and to let the tracer die. */
bool guard_has_to_hold(const struct tracer *t);
void guard_let_die(struct tracer *t);

/* Gives back what a dead tracer's tracees need, as planned, and ends the process: for a forked
 * child of the keeper. Where the tracer has to be held, it closes held_fd when the tracer may die,
 * and goes on after its death, whether the keeper lives or not. A tracee that holds it up does so
 * for a bounded time. */
void guard_run_repair(struct tracer *t, int held_fd) __attribute__((noreturn));
