/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct process;
struct trace;

/* Attaches to what is not traced yet of a process, for no session: chaperone.h says what for. What
 * has been attached when it fails is let go by chaperone_release(). Errors as of trace_attach(). */
int attach_cover(struct trace *t, struct process *p);
