/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/trace.h"

/* The engine of a session on a thread. -EUNATCH: there is none. */
int control_find_engine(struct trace *t, struct session *s, pid_t pid, pid_t tid,
                        struct tracee **ret_tracee, struct engine **ret_engine);

/* The siginfo of the signal that a held thread stands at, and another in its place; the signal that
 * it is resumed with becomes that one's. -ENOMSG: it stands at none; -ESRCH: killed. */
int control_get_siginfo(const struct tracee *tracee, siginfo_t *ret);
int control_set_siginfo(struct trace *t, struct tracee *tracee, const siginfo_t *info);

/* A thread of an all-stop attachment has stopped (trace->gather): tells the others to. */
void control_gather(struct trace *t);
