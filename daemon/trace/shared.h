/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* Memory that keeper and tracers share. Neither side may take it from under the other, so its size
 * is sealed. */

/* A new memfd of that size, all zero. Nothing is allocated until it is written. */
int shared_create(const char *name, size_t size, int *ret_fd);
int shared_map(int fd, size_t size, void **ret);
