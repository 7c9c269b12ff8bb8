/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdlib.h>
#include <unistd.h>

/* Cleanup attributes of the core and of what stands on it. bus-api/macro.h is the other half's. */

static inline void trace_closep(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void trace_freep(void *p)
{
    free(*(void **)p);
}

#define _cleanup_close_ __attribute__((__cleanup__(trace_closep)))
#define _cleanup_free_ __attribute__((__cleanup__(trace_freep)))

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))
