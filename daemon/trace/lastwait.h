/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/ledger.h"

/* A signal-delivery-stop that nobody has collected when its tracer dies ends with the signal's
 * delivery, and the SIGTRAP of a breakpoint instruction kills. Nobody but the tracer can collect
 * it, and a killed tracer executes nothing any more. But the kernel does, on its behalf: what is
 * queued in its io_uring completes while it exits (io_uring/io_uring.c:io_uring_cancel_generic(),
 * which do_exit() calls behind PTRACE_EVENT_EXIT and before the tracees are let go).
 *
 * So the tracer queues, once and in advance, a sleep on the ledger's bell and behind it a chain of
 * waits that collect whatever stops there are. They cost nothing until the guardian wakes the
 * sleeper, while the tracer stands in its exit. What they collect is in ledger_last_waits().
 *
 * It takes Linux 6.7 (IORING_OP_WAITID, IORING_OP_FUTEX_WAIT), and that io_uring is allowed.
 * Without it such a thread is killed. */

/* For the tracer. *fd: -1 until it is armed; to be closed at the end. Does nothing where it is
 * armed already. -EOPNOTSUPP, -EPERM, -ENOSYS: not on this kernel. */
int lastwait_arm(struct ledger *l, int *fd);

/* For the guardian, while the tracer stands in its exit stop. Whether there was a sleeper. */
bool lastwait_ring(struct ledger *l);
