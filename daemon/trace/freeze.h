/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "daemon/trace/batch.h"
#include "daemon/trace/process.h"

/* A whole process stands for a moment, for the tracer's own purposes. No session is told; a session
 * that holds a thread goes on holding it, before and after.
 *
 * While a process is frozen, resume_settle() leaves every thread of it as it is, so a thread stays
 * in whatever stop it is caught in. That stop is dealt with as always: reported to those who asked
 * for it, collected, its signal recorded in the ledger. When the last freeze ends, each thread goes
 * on as its sessions want by then: in its mode, with its signal, back to its group-stop, or out of
 * our hands.
 *
 * Both ends are in one turn of the loop: what a thread does in between is seen through
 * batch_collect(&f->batch, tid) alone. Freezes of a process nest. */
struct freeze {
    struct batch batch; /* for more waiting: the class is raised until freeze_end() */
    struct process *process;
};

/* Stops every thread that is traced, those included that are born meanwhile. Not those that the
 * kernel does not stop in time: in uninterruptible sleep (they remain TRACEE_STOPPING, and stop for
 * an instant some time later), and parents in vfork, which are not even told. Nothing is refused;
 * that a thread stands is told by its state, TRACEE_STOPPED.
 *
 * The process may end meanwhile, or be without any thread or attachment: until freeze_end() it is
 * not freed. Its tracees may be. */
void freeze_begin(struct freeze *f, struct trace *t, struct process *p);

/* Lets the threads go on. May free the process and its tracees. */
void freeze_end(struct freeze *f);
