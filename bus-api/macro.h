/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

/* Cleanup attributes for everything that speaks D-Bus. The tracing core, which does not know this
 * folder, has a header of its own (daemon/trace/macro.h). */

#define _cleanup_(function) __attribute__((__cleanup__(function)))

#define TAKE_PTR(ptr)                                                                              \
    ({                                                                                             \
        __typeof__(ptr) *_taken_from_ = &(ptr);                                                    \
        __typeof__(ptr) _taken_ = *_taken_from_;                                                   \
        *_taken_from_ = NULL;                                                                      \
        _taken_;                                                                                   \
    })

#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int *_taken_from_ = &(fd);                                                                 \
        int _taken_ = *_taken_from_;                                                               \
        *_taken_from_ = -1;                                                                        \
        _taken_;                                                                                   \
    })

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))

static inline void bus_api_freep(void *p)
{
    free(*(void **)p);
}

static inline void bus_api_closep(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void bus_api_error_freep(sd_bus_error *error)
{
    sd_bus_error_free(error);
}

#define _cleanup_free_string_ _cleanup_(bus_api_freep)
#define _cleanup_close_fd_ _cleanup_(bus_api_closep)
#define _cleanup_bus_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_bus_error_ _cleanup_(bus_api_error_freep)
