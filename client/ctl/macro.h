/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdlib.h>

/* Cleanup attributes of ptracectl, which knows libptraced and libc only. */

#define _cleanup_(function) __attribute__((__cleanup__(function)))
#define _printf_(format, first) __attribute__((__format__(__printf__, format, first)))

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))

static inline void ctl_freep(void *p)
{
    free(*(void **)p);
}

#define _cleanup_free_ _cleanup_(ctl_freep)
