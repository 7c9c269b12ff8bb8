/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/keeper/tracer.h"

/* Opens the tracer program: beside the keeper's own, or where the build tree has it. Held open, it
 * stays of one build with the keeper, though an upgrade has put another in its place. -ENOENT: at
 * neither place. */
int start_open_program(int *ret_fd);

/* Forks and executes a tracer that is under guard before its first instruction. Where the kernel
 * refuses the guard, the tracer is started all the same and guard_error says why. Its state is
 * TRACER_READY; the caller adds it to its list. It has a row in the quota's table, which is given
 * back with tracer_free(). */
int start_tracer(int program_fd, int quota_fd, struct quota_table *quota, struct tracer **ret);
