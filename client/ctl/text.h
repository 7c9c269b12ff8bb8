/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* Text that others chose (a session's name, a sentence of the service) on its way to a terminal. */

/* Replaces control characters in the first n bytes with '?', in place, so that nothing can forge a
 * line or command the terminal. What a program chose is escaped already, and stays readable. */
void text_make_printable(char *s, size_t n);

/* How many characters of UTF-8 these are: columns on a terminal, but for wide scripts. */
size_t text_width(const char *s);
