/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

struct tracer;
struct tracer_session;

/* Interrupt answers when all threads stand, so that whoever has the answer can read their
 * registers. The core waits for each as long as it is worth to keep everybody else waiting
 * (BATCH_PATIENCE_USEC): what gets no processor within that time, on a machine with much to do, is
 * awaited here while the tracer goes on. Not for ever: a thread may be in the kernel's
 * uninterruptible sleep. */

/* Answers now, or when the session's threads of the process stand; pid 0: of all its processes. */
int late_answer(struct tracer *t, struct tracer_session *s, pid_t pid, sd_bus_message *call);

/* Whether somebody waits. */
bool late_is_any(const struct tracer *t);

/* Answers those that can be, for when something has happened. */
void late_check(struct tracer *t);

/* Answers all: their session, or their broker, is about to be gone. NULL: of all sessions. */
void late_flush(struct tracer *t, const struct tracer_session *s);
