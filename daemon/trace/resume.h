/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/trace.h"

/* What happens to a thread that stands and that perhaps nobody holds: the one place from which a
 * thread is resumed or let go. Does nothing with a thread that does not stand, or that is held. The
 * tracee may be freed by it, and with it the process. */
void resume_settle(struct trace *t, struct tracee *tracee);

/* Takes the first step to let go of a thread without engines: at once where it stands, else by an
 * interrupt whose stop resume_settle() will see. May free, as above. */
void resume_release(struct trace *t, struct tracee *tracee);

/* What its sessions want of a running thread has changed. Where that has to stop at more than it
 * does now, it is interrupted, unseen by anybody, to be resumed in the new way. */
void resume_kick(struct tracee *tracee);

/* How a thread runs when nobody holds it. */
enum resume_mode resume_wanted_mode(const struct tracee *tracee);

/* The kernel has given a thread the options of another: of its creator, or it is that other, under
 * a new number. */
void resume_inherit_options(struct tracee *tracee, const struct tracee *from);

/* PTRACE_O_* that a thread is seized with, for a session with this filter (NULL: for none). */
unsigned long resume_options(const struct attachment *a);
