/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Threads that stand in the stop of an interrupt with an instruction's SIGTRAP behind it. The
 * tracer would have resumed them into that signal; when it dies instead, the kernel lets them go,
 * and takes such a signal before any SIGSTOP (kernel/signal.c:dequeue_synchronous_signal()). It
 * kills, unless somebody is their tracer again by then.
 *
 * So the repair has to be first, and can be: in one critical section the kernel lets the tracees go
 * and tells that their tracer is dead (kernel/exit.c:exit_notify(), under tasklist_lock). Where the
 * tracer, these threads and the repair may use one processor alone, and the repair has the highest
 * real-time priority, it is the next to run there. That takes CAP_SYS_NICE. Threads of a deadline
 * class or of another cpuset, and kernels in which tasklist_lock can be preempted (PREEMPT_RT), are
 * left to chance.
 *
 * Each thread gets its processors back as soon as it is seized, or when the repair gives up. Only
 * where the repair itself is killed in between does it keep the one. */

struct patient;

#define REPAIR_FIRST_MAX 64u /* threads; who comes after is left to chance */

struct repair_first;

/* While the tracer stands in its exit stop and all threads stand. *ret is NULL where nobody is in
 * danger, or nothing can be done for them. Who gets one has to wait for the tracer's death without
 * doing anything else, and to call repair_first_seize() next. It is set before anything is done,
 * for a signal handler that calls repair_first_give_up(). */
void repair_first_prepare(pid_t tracer, const struct patient *patients, size_t n,
                          struct repair_first **ret);

/* The tracer is dead. Accepts NULL. */
void repair_first_seize(struct repair_first *f);

/* Threads that are not seized get their processors back. Async-signal-safe. Accepts NULL. */
void repair_first_give_up(const struct repair_first *f);

/* Whether a thread is ours already. Accepts NULL. */
bool repair_first_has(const struct repair_first *f, pid_t tid);

/* Accepts NULL; returns NULL. */
struct repair_first *repair_first_free(struct repair_first *f);
