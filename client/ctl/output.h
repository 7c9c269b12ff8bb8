/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

/* Where events go: standard output, standard error or a file. */

/* Opens the file of -o: "-" is standard output; without one (NULL) it is `standard`, stdout or
 * stderr. The stream is fully buffered, and not inherited by a program that is started. Closed by
 * output_close(). */
int output_open(const char *path, FILE *standard, FILE **ret);

/* Writes out what is left. Negative errno where not everything could be written. Accepts NULL. */
int output_close(FILE *f);

/* Makes descriptors 0, 1 and 2 exist, so that no other file gets one of these numbers and is
 * written to in their stead. One that was closed stays closed for a program that is started, and
 * fails when it is used. */
int output_reserve_standard(void);
