/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/trace.h"

/* Threads and processes that come, and what an exec or an end makes of them.
 *
 * A child that the kernel attached with its creator (PTRACE_O_TRACECLONE and its kin) reports its
 * first stop before its creator's event or after it. Whoever comes first makes the tracee; a child
 * that comes first is a stray, and stands until its creator has told whose it is. */

/* At a clone, fork or vfork event of its creator. */
void children_on_event(struct trace *t, struct tracee *creator, enum stop_kind kind);

/* A wait reported a thread that nobody knows: a stray's first stop, or an exec by a thread whose
 * process leader isn't traced. NULL where there is nothing to do about it. */
struct tracee *children_find_unknown(struct trace *t, pid_t tid, const struct stop *stop);

/* A stray has been killed, and reports its exit stop or its end. Its creator may be dying of the
 * same signal and never tell of it, so it is let go: standing, it would keep its process from
 * ending. */
void children_stray_dies(struct trace *t, struct tracee *stray);

/* At an exec: the other threads are gone, and `former` became `tracee`. */
void children_forget_others(struct trace *t, struct tracee *tracee, pid_t former);

/* The last traced thread of a process has ended, with `last`. Frees the process. */
void children_end_process(struct trace *t, struct process *p, const struct event *last);
