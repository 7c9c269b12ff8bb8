/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

struct trace;

/* Sessions that only observe a process. What they read of a thread they need it to stand for, so
 * they may stop one, for a short time: then it runs on without them, whatever they say. They cannot
 * change how it runs (trace_continue()); what else they must not do, their methods refuse. */
#define OBSERVE_HOLD_USEC UINT64_C(1000000)

/* Lets those go that an observer has held for too long. Returns when the next one is due (usec,
 * CLOCK_MONOTONIC); 0: none is held. To be called when trace.observers_hold is set, and when due.
 */
uint64_t observe_let_go(struct trace *t);
