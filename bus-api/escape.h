/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* Makes bytes that a program chose (comm, a path) fit to be shown and sent: every byte that is not
 * part of printable UTF-8 becomes \xNN, and a backslash becomes \x5c, so that the original can be
 * told again. sd-bus refuses raw strings that are no UTF-8, and a control character could forge a
 * line of a log or of a dialog.
 *
 * Returns a new string that the caller frees, or NULL when memory ran out. Thread-safe. */
char *ptraced_escape(const char *bytes, size_t n);
