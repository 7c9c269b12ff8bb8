/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "client/ctl/macro.h"

struct context;
struct options;

/* Everything that ptracectl says on standard error. The functions that return a number return an
 * exit code, so that a verb can end with "return report_failure(...)". */

void report_error(const char *format, ...) _printf_(1, 2);

/* Not with --quiet. */
void report_notice(const struct options *o, const char *format, ...) _printf_(2, 3);

/* Bad usage: CTL_USAGE. */
int report_usage(const char *format, ...) _printf_(1, 2);
int report_no_memory(void);

/* A call of libptraced has failed with r (negative). Prints the library's own sentence where it
 * has one, else what the format says and the errno's meaning; then what can be done about it.
 * `pid` is the process that it was about, or 0. */
int report_failure(struct context *c, int r, pid_t pid, const char *format, ...) _printf_(4, 5);

/* The exit code that stands for a negative errno. */
int exit_code_of(int r);
