/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Pure parsers of what a user types. All are thread-safe, write their ret arguments only on
 * success and return -EINVAL for what is malformed, -ERANGE for a number that is too large. */

/* A positive decimal number without sign, space or anything behind it. */
int parse_pid(const char *s, pid_t *ret);

/* PID or PID:TID; *ret_tid is 0 where none was named. */
int parse_target(const char *s, pid_t *ret_pid, pid_t *ret_tid);

/* A decimal number from 1 up. */
int parse_count(const char *s, uint64_t *ret);

/* Of `n` words the one that a misspelt word most likely meant, or NULL where none is near. */
const char *parse_nearest(const char *word, const char *const *words, size_t n);
