/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* Measures from inside for how long a program was held: one thread reads CLOCK_MONOTONIC every
 * METER_PERIOD_NSEC and keeps the largest gap beyond that. That is what the program's user feels of
 * a tracer, and no tracer can hide any of it (but what is shorter than the period).
 *
 * Its own scheduling would be noise: a thread of the normal class waits for its turn, among threads
 * that spin for many milliseconds and with no tracer near. So it takes a real-time class above all
 * that is measured, where it may, and never waits: a gap is a stop. It sleeps between two readings
 * lest it take a processor from tracers that consist of several processes. The harness shows what
 * is left of the noise by reading it with no tracer near.
 *
 * (A thread that spins and subtracts what /proc/thread-self/schedstat says about the run queue does
 * not do: since Linux 6.12 the kernel now and then charges a blocked thread for the queue that it
 * is about to leave.) */

#define METER_PERIOD_NSEC 50000u

struct meter;

/* Makes a meter. -ENOMEM. It lives until the process ends. */
int meter_new(struct meter **ret);

/* Turns the calling thread into the meter's. That should be the main thread: the tracers that stop
 * a process thread by thread begin with it, so that it stands still for the longest. */
_Noreturn void meter_run(struct meter *m);

/* Forgets the gaps so far, the present one included. For one caller at a time, from another thread
 * of the same process. -ETIMEDOUT where the meter does not get to run. */
int meter_reset(struct meter *m);

/* The largest gap since the reset, in nanoseconds. It waits until the present gap has ended, so
 * that a freeze which is just over is counted whole. -ETIMEDOUT where the meter does not get to
 * run. */
int meter_report(struct meter *m, uint64_t *ret);
