/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/session.h"

/* What somebody needs for a method, the least first. */
enum need {
    NEED_SERVICE, /* to be let in at all */
    NEED_ROOT,
};

#define DBUS_INTERFACE "org.freedesktop.DBus."

/* `own`: for what is the caller's, or nobody's; `other`: for what is another user's. */
static const struct rule {
    const char *interface;
    const char *member;
    enum need own;
    enum need other;
} rules[] = {
    {PTRACED_MANAGER_INTERFACE, "CreateSession", NEED_SERVICE, NEED_SERVICE},
    {PTRACED_MANAGER_INTERFACE, "GetSession", NEED_SERVICE, NEED_ROOT},
    {PTRACED_MANAGER_INTERFACE, "ListSessions", NEED_SERVICE, NEED_SERVICE},
    {PTRACED_MANAGER_INTERFACE, "ListTracees", NEED_SERVICE, NEED_SERVICE},

    {PTRACED_SESSION_INTERFACE, "AttachProcess", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "AttachProcessFD", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "AttachThread", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "DetachAll", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Interrupt", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Continue", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Subscribe", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Unsubscribe", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Close", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "GetEvent", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "ListStopped", NEED_SERVICE, NEED_ROOT},

    {PTRACED_PROCESS_INTERFACE, "Detach", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Interrupt", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Continue", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Kill", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Signal", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ListThreads", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "SetEventFilter", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMemory", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMemoryRanges", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "WriteMemory", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMemoryFD", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "OpenMemory", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "OpenMaps", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMaps", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "OpenMappedFile", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMappedFile", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadAuxv", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "GetCommandLine", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Snapshot", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "AddBreakpoint", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "RemoveBreakpoint", NEED_SERVICE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ListBreakpoints", NEED_SERVICE, NEED_ROOT},

    {PTRACED_THREAD_INTERFACE, "Detach", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "Interrupt", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "Continue", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "Step", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetSignalInfo", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "SetSignalInfo", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetEvent", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetRegisters", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "SetRegisters", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetRegisterSet", NEED_SERVICE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "SetRegisterSet", NEED_SERVICE, NEED_ROOT},

    {DBUS_INTERFACE "ObjectManager", "GetManagedObjects", NEED_SERVICE, NEED_SERVICE},
    {DBUS_INTERFACE "Introspectable", "Introspect", NEED_SERVICE, NEED_ROOT},
    {DBUS_INTERFACE "Properties", "Get", NEED_SERVICE, NEED_ROOT},
    {DBUS_INTERFACE "Properties", "GetAll", NEED_SERVICE, NEED_ROOT},
    {DBUS_INTERFACE "Properties", "Set", NEED_SERVICE, NEED_ROOT}, /* to be told: read-only */
};

static const struct rule *find_rule(sd_bus_message *m)
{
    const char *interface = sd_bus_message_get_interface(m);
    const char *member = sd_bus_message_get_member(m);

    if (!interface)
        return NULL;
    for (size_t i = 0; i < ELEMENTSOF(rules); i++)
        if (strcmp(rules[i].member, member) == 0 && strcmp(rules[i].interface, interface) == 0)
            return &rules[i];
    return NULL;
}

/* Embedded, the kernel's own rules are the policy: everything runs with the caller's rights. On a
 * user's bus the service runs with the rights of that user. */
static bool is_met(enum need need, const struct broker *b, uid_t uid)
{
    switch (b->mode) {
    case BROKER_EMBEDDED:
        return true;
    case BROKER_USER:
        return uid == 0 || uid == geteuid();
    case BROKER_SYSTEM:
        break;
    }
    switch (need) {
    case NEED_SERVICE: /* there is no finer policy yet */
    case NEED_ROOT:
        return uid == 0;
    }
    return false;
}

int auth_check(const struct caller *c, const struct session *s, sd_bus_message *m,
               sd_bus_error *error)
{
    const struct rule *rule = find_rule(m);
    const char *interface = sd_bus_message_get_interface(m);
    bool own = !s || s->uid == c->uid;

    if (!rule)
        return sd_bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_METHOD,
                                 "There is no method %s in interface %s",
                                 sd_bus_message_get_member(m), interface ? interface : "(none)");
    if (!is_met(own ? rule->own : rule->other, c->broker, c->uid))
        return sd_bus_error_setf(
            error, SD_BUS_ERROR_ACCESS_DENIED,
            "User %u may not call %s: until there is a policy for others, only "
            "root may use the system service; use ptracectl --embedded",
            c->uid, rule->member);
    return 0;
}

bool auth_may_see(const struct broker *b, uid_t uid, const struct session *s)
{
    return is_met(s->uid == uid ? NEED_SERVICE : NEED_ROOT, b, uid);
}
