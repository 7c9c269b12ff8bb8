/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>

#include "bus-api/errors.h"

static const sd_bus_error_map error_map[] = {
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NO_SUCH_SESSION, ENXIO),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NO_SUCH_PROCESS, ESRCH),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NO_SUCH_THREAD, ESRCH),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NOT_ATTACHED, EUNATCH),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_ALREADY_TRACED, EBUSY),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NOT_PERMITTED, EPERM),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NOT_SUPPORTED, EOPNOTSUPP),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NOT_STOPPED, EINPROGRESS),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_BAD_ADDRESS, EFAULT),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NO_SUCH_BREAKPOINT, ENOENT),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_EXCLUDED, ETXTBSY),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_NO_EVENT, EAGAIN),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_INVALID_OPTION, EINVAL),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_LIMIT_EXCEEDED, EDQUOT),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_TIMED_OUT, ETIMEDOUT),
    SD_BUS_ERROR_MAP(PTRACED_ERROR_TRACER_GONE, EOWNERDEAD),
    SD_BUS_ERROR_MAP_END,
};

void ptraced_errors_register(void)
{
    /* sd-bus keeps a list of maps and refuses none; it is looked up in order, so a second
     * registration of the same table is harmless but is skipped all the same. */
    static bool registered;

    if (registered)
        return;
    registered = sd_bus_error_add_map(error_map) >= 0;
}
