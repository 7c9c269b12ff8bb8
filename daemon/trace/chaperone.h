/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

struct process;
struct trace;
struct tracee;

/* A thread that no session traces, but that runs where breakpoint instructions stand: of a process
 * of which a session has other threads, or a vfork child. It stays traced, and passes them unseen,
 * since an untraced thread that meets one is killed. */

bool chaperone_is_needed(const struct tracee *tracee);

/* The last breakpoint may have gone: lets go of those who need no chaperone any more, in every
 * process that shares the memory. May free tracees, and processes without attachments. */
void chaperone_release(struct trace *t, struct process *p);
void chaperone_release_all(struct trace *t);
