/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

/* Writes the introspection XML of an object path or an interface, with its prose, or for "list" the
 * paths there are. Numbers in a path stand for any. -ENOENT where nothing is meant by it. */
int introspect(const char *pattern, FILE *to);
