/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "client/lib/ptraced/ptraced.h"

/* Sets of event kinds: what -e and --stops name, as a bit mask. */

#define KIND_BIT(kind) (1u << (kind))
#define KINDS_MAX 18u

/* Adds the kinds of a comma-separated list to *mask. On -EINVAL *ret_bad points to the word that
 * is no kind, and *ret_length says how long it is. */
int kinds_parse(const char *list, unsigned *mask, const char **ret_bad, size_t *ret_length);

/* Fills a NULL-terminated array, as the attach options take it, and returns it; NULL where the
 * mask is empty, which is the library's default. */
const char **kinds_names(unsigned mask, const char *names[static KINDS_MAX + 1]);

/* All kinds, with a comma and a space between them. */
const char *kinds_all(void);
