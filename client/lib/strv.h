/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/* NULL-terminated arrays of strings. A NULL array is an empty one, except for copy, which keeps
 * the difference: NULL often means "the default". */

bool strv_contains(const char *const *strings, const char *s);

/* A copy, with one string more unless that is NULL. The caller ends it with strv_free(). */
char **strv_copy(const char *const *strings, const char *more);

char **strv_free(char **strings);
void strv_freep(char ***strings);
