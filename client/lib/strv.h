/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/* NULL-terminated arrays of strings. A NULL array is an empty one. */

bool strv_contains(const char *const *strings, const char *s);

/* A copy, and one that also has each of `more`, once. The caller ends it with strv_free(). */
char **strv_copy(const char *const *strings);
char **strv_union(const char *const *strings, const char *const *more);

bool strv_includes(const char *const *strings, const char *const *others);

char **strv_free(char **strings);
void strv_freep(char ***strings);
