/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/ledger.h"

/* The signals that a dead tracer had taken out of the kernel's hands and not passed on. */

struct repair_signals;

/* In the tracer's exit stop, before anything else: it goes by the states of the threads. Never
 * blocks. *ret is NULL where no signal is lost. */
int repair_signals_plan(const struct ledger *l, struct repair_signals **ret);

/* After the tracer is dead. SIGCHLD is blocked. */
void repair_signals_run(const struct repair_signals *r);

/* Accepts NULL; returns NULL. */
struct repair_signals *repair_signals_free(struct repair_signals *r);
