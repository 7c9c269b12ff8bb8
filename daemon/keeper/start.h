/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/keeper/tracer.h"

/* Finds the tracer program: beside the keeper's own, or where the build tree has it. The caller
 * frees. -ENOENT: at neither place. */
int start_find_program(char **ret);

/* Forks and executes a tracer that is under guard before its first instruction. Where the kernel
 * refuses the guard, the tracer is started all the same and guard_error says why. Its state is
 * TRACER_READY; the caller adds it to its list. It has a row in the quota's table, which is given
 * back with tracer_free(). */
int start_tracer(const char *program, int quota_fd, struct quota_table *quota, struct tracer **ret);
