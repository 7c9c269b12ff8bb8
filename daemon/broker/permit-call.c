/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus-api/names.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/permit-call.h"
#include "daemon/broker/permit.h"

#define PROPERTIES "org.freedesktop.DBus.Properties"

bool permit_call_is_list(sd_bus_message *m)
{
    return sd_bus_message_is_method_call(m, PTRACED_MANAGER_INTERFACE, "ListSessions") ||
           sd_bus_message_is_method_call(m, PTRACED_MANAGER_INTERFACE, "ListTracees") ||
           sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager",
                                         "GetManagedObjects");
}

bool permit_call_ends(sd_bus_message *m)
{
    return sd_bus_message_is_method_call(m, PTRACED_SESSION_INTERFACE, "Close") ||
           sd_bus_message_is_method_call(m, PTRACED_SESSION_INTERFACE, "DetachAll");
}

bool permit_call_manages(sd_bus_message *m)
{
    return permit_call_ends(m) || sd_bus_message_is_method_call(m, PROPERTIES, "Get") ||
           sd_bus_message_is_method_call(m, PROPERTIES, "GetAll");
}

bool permit_call_sets_limit(sd_bus_message *m, const char **ret_name, uint64_t *ret_value)
{
    bool sets = sd_bus_message_is_method_call(m, PTRACED_MANAGER_INTERFACE, "SetLimit") &&
                strcmp(sd_bus_message_get_path(m), PTRACED_ROOT_PATH) == 0 &&
                sd_bus_message_read(m, "st", ret_name, ret_value) > 0 &&
                limit_check_change(*ret_name, *ret_value) >= 0;

    (void)sd_bus_message_rewind(m, true);
    return sets;
}

bool permit_call_opens_memory(sd_bus_message *m)
{
    return sd_bus_message_is_method_call(m, PTRACED_PROCESS_INTERFACE, "OpenMemory") ||
           sd_bus_message_is_method_call(m, PTRACED_PROCESS_INTERFACE, "OpenMaps");
}

const char *permit_call_access(sd_bus_message *m, const struct permits *wanted)
{
    const char *mode = NULL;

    if (wanted->events)
        return PTRACED_ACCESS_OBSERVE;
    if (wanted->manage)
        return sd_bus_message_is_method_call(m, PROPERTIES, NULL) ? PTRACED_ACCESS_LIST
                                                                  : PTRACED_ACCESS_MANAGE;
    if (!sd_bus_message_is_method_call(m, PTRACED_PROCESS_INTERFACE, "OpenMemory"))
        return PTRACED_MEMORY_READ;
    if (sd_bus_message_read(m, "s", &mode) < 0)
        mode = NULL;
    (void)sd_bus_message_rewind(m, true);
    return mode && strcmp(mode, PTRACED_MEMORY_READ) == 0 ? PTRACED_MEMORY_READ
                                                          : PTRACED_MEMORY_READ_WRITE;
}
