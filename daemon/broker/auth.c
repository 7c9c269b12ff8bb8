/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"

/* What somebody needs for a method, the least first. */
enum need {
    NEED_SERVICE,   /* to be let in at all */
    NEED_ATTACH,    /* to be the connection that has made the session, or it is a persistent one */
    NEED_CLEARANCE, /* to have been authorised for the process that it is about, or for all that the
                       session traces */
    NEED_EVENTS,    /* the same of all, and of what has ended, the events of which may wait still */
    NEED_MEMORY,    /* the same of a process, and a permission of its own (permit.h) */
    NEED_MANAGE,    /* a permission of its own alone */
    NEED_ROOT,
};

#define DBUS_INTERFACE "org.freedesktop.DBus."

/* `own`: for what is the caller's, or nobody's; `other`: for what is another user's. The files that
 * a process has mapped are root's: of those it may hold more than it has mapped, and more than its
 * user could open. */
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
    {PTRACED_MANAGER_INTERFACE, "ListLimits", NEED_SERVICE, NEED_SERVICE},
    {PTRACED_MANAGER_INTERFACE, "SetLimit", NEED_MANAGE, NEED_MANAGE},

    {PTRACED_SESSION_INTERFACE, "AttachProcess", NEED_ATTACH, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "AttachProcessFD", NEED_ATTACH, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "AttachThread", NEED_ATTACH, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "AuthorizeProcess", NEED_ATTACH, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "DetachAll", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Interrupt", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Continue", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Subscribe", NEED_EVENTS, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Unsubscribe", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "Close", NEED_SERVICE, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "GetEvent", NEED_EVENTS, NEED_ROOT},
    {PTRACED_SESSION_INTERFACE, "ListStopped", NEED_CLEARANCE, NEED_ROOT},

    {PTRACED_PROCESS_INTERFACE, "Detach", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Interrupt", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Continue", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Kill", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Signal", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ListThreads", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "SetEventFilter", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMemory", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMemoryRanges", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "WriteMemory", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMemoryFD", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "OpenMemory", NEED_MEMORY, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "OpenMaps", NEED_MEMORY, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMaps", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "OpenMappedFile", NEED_ROOT, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadMappedFile", NEED_ROOT, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ReadAuxv", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "GetCommandLine", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "Snapshot", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "AddBreakpoint", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "RemoveBreakpoint", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_PROCESS_INTERFACE, "ListBreakpoints", NEED_CLEARANCE, NEED_ROOT},

    {PTRACED_THREAD_INTERFACE, "Detach", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "Interrupt", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "Continue", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "Step", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetSignalInfo", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "SetSignalInfo", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetEvent", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetRegisters", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "SetRegisters", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "GetRegisterSet", NEED_CLEARANCE, NEED_ROOT},
    {PTRACED_THREAD_INTERFACE, "SetRegisterSet", NEED_CLEARANCE, NEED_ROOT},

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
bool auth_is_unlimited(const struct caller *c)
{
    switch (c->broker->mode) {
    case BROKER_EMBEDDED:
        return true;
    case BROKER_USER:
        return c->uid == 0 || c->uid == geteuid();
    case BROKER_SYSTEM:
        break;
    }
    return c->uid == 0;
}

/* Whether it is the connection that has made the session. */
static bool is_holder(const struct caller *c, const struct session *s)
{
    return !s || strcmp(s->holder, c->name) == 0;
}

/* By another connection: the tracer gives a session control before it says so. */
static bool is_upgraded(const struct caller *c, const struct attachment *a)
{
    LIST_FOREACH(struct attach, one, &a->session->broker->attaches, attaches)
        if (one->is_sent && one->session == a->session && one->target.pid == a->pid &&
            one->caller != c && !one->wish.observe)
            return true;
    return false;
}

bool auth_may_use(const struct caller *c, const struct attachment *a)
{
    const struct clearance *clearance = auth_is_unlimited(c) ? NULL : clearance_find(c, a);

    return auth_is_unlimited(c) ||
           (clearance_is_enough(clearance) &&
            (!clearance->observe || !a->session->persistent || !is_upgraded(c, a)));
}

/* What is about to be attached counts: its events shall not come before its clearance. */
static bool is_attached_to_by_another(const struct session *s, const struct caller *c)
{
    LIST_FOREACH(struct attach, a, &s->broker->attaches, attaches)
        if (a->session == s && a->at_tracer && !a->answered && a->caller != c)
            return true;
    return false;
}

/* Of what has ended before this broker came there may be events that it knows nothing of. */
static bool may_be_all(const struct caller *c, const struct session *s)
{
    bool has_any = !s->adopted || is_holder(c, s);

    LIST_FOREACH(struct attachment, a, &s->attachments, of_session)
        has_any |= clearance_find(c, a) != NULL;
    return has_any;
}

bool auth_may_use_all(const struct caller *c, const struct session *s)
{
    if (auth_is_unlimited(c))
        return true;
    if (!s->persistent && !is_holder(c, s))
        return false;
    if (s->persistent && is_attached_to_by_another(s, c))
        return false;
    LIST_FOREACH(struct attachment, a, &s->attachments, of_session)
        if (!auth_may_use(c, a))
            return false;
    return may_be_all(c, s);
}

bool auth_may_take_events(const struct caller *c, const struct session *s)
{
    if (!auth_may_use_all(c, s))
        return false;
    LIST_FOREACH(struct attachment, a, &s->gone, of_session)
        if (!auth_is_unlimited(c) && !clearance_find(c, a))
            return false;
    return true;
}

/* Of a process that the session does not trace there may be events. */
static bool may_use(const struct caller *c, const struct session *s, pid_t pid)
{
    const struct attachment *a = s && pid > 0 ? attachment_find(s, pid, NULL) : NULL;

    return !s || (a         ? auth_may_use(c, a)
                  : pid > 0 ? auth_may_take_events(c, s)
                            : auth_may_use_all(c, s));
}

static bool is_met(enum need need, const struct caller *c, const struct session *s, pid_t pid)
{
    if (auth_is_unlimited(c))
        return true;
    if (c->broker->mode != BROKER_SYSTEM)
        return false;
    switch (need) {
    case NEED_SERVICE:
        return true;
    case NEED_ATTACH:
        return is_holder(c, s) || s->persistent;
    case NEED_CLEARANCE:
        return may_use(c, s, pid);
    case NEED_EVENTS:
        return auth_may_take_events(c, s);
    case NEED_MEMORY:
        return may_use(c, s, pid) && c->permits.memory;
    case NEED_MANAGE:
        return c->permits.manage;
    case NEED_ROOT:
        break;
    }
    return false;
}

static int explain(const struct caller *c, const struct session *s, const struct rule *rule,
                   sd_bus_error *error)
{
    if (c->broker->mode != BROKER_SYSTEM)
        return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                 "User %u may not call %s: this service is user %u's", c->uid,
                                 rule->member, geteuid());
    if (s && s->uid == c->uid && s->persistent && rule->own < NEED_MANAGE)
        return sd_bus_error_setf(
            error, SD_BUS_ERROR_ACCESS_DENIED,
            "You may not call %s: session %s traces what this connection was not authorised for; "
            "call AuthorizeProcess for each of its processes, or attach in a session of its own",
            rule->member, s->id);
    if (s && s->uid == c->uid && !is_holder(c, s))
        return sd_bus_error_setf(
            error, SD_BUS_ERROR_ACCESS_DENIED,
            "You may not call %s: what session %s traces was authorised for the "
            "connection that has made it (%s) alone; attach from this one, in a "
            "session of its own",
            rule->member, s->id, *s->holder ? s->holder : "gone by now");
    return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                             "User %u may not call %s here: that is for root alone", c->uid,
                             rule->member);
}

/* What sd-bus and the tracers answer for any object tells as much as the object's own methods. */
static enum need need_of(const struct rule *rule, bool own, const struct ptraced_path *path)
{
    if (!own)
        return rule->other;
    switch (path->kind) {
    case PTRACED_PATH_PROCESS_LIST:
    case PTRACED_PATH_PROCESS:
    case PTRACED_PATH_THREAD_LIST:
    case PTRACED_PATH_THREAD:
        return rule->own < NEED_CLEARANCE ? NEED_CLEARANCE : rule->own;
    case PTRACED_PATH_SESSION:
    case PTRACED_PATH_INVALID:
        break;
    }
    return rule->own;
}

static pid_t pid_of(const struct ptraced_path *path)
{
    switch (path->kind) {
    case PTRACED_PATH_PROCESS:
    case PTRACED_PATH_THREAD_LIST:
    case PTRACED_PATH_THREAD:
        return path->pid;
    case PTRACED_PATH_PROCESS_LIST:
    case PTRACED_PATH_SESSION:
    case PTRACED_PATH_INVALID:
        break;
    }
    return 0;
}

static bool lacks(const struct caller *c, const struct attachment *a)
{
    return !clearance_is_enough(clearance_find(c, a));
}

const struct attachment *auth_lacks(const struct caller *c, const struct session *s,
                                    sd_bus_message *m)
{
    const struct rule *rule = find_rule(m);
    const struct attachment *found;
    struct ptraced_path path;
    enum need need;

    if (!rule || auth_is_unlimited(c) || c->broker->mode != BROKER_SYSTEM || s->uid != c->uid ||
        !s->persistent || strcmp(rule->interface, DBUS_INTERFACE "Introspectable") == 0)
        return NULL;
    ptraced_path_parse(sd_bus_message_get_path(m), &path);
    need = need_of(rule, true, &path);
    if (need < NEED_CLEARANCE || need >= NEED_MANAGE)
        return NULL;
    found = pid_of(&path) > 0 ? attachment_find(s, pid_of(&path), NULL) : NULL;
    if (found)
        return lacks(c, found) ? found : NULL;
    LIST_FOREACH(struct attachment, a, &s->attachments, of_session)
        if (lacks(c, a))
            return a;
    if (need != NEED_EVENTS && pid_of(&path) == 0)
        return NULL;
    LIST_FOREACH(struct attachment, a, &s->gone, of_session)
        if (!clearance_find(c, a))
            return a;
    return NULL;
}

int auth_check(const struct caller *c, const struct session *s, sd_bus_message *m,
               sd_bus_error *error)
{
    const struct rule *rule = find_rule(m);
    const char *interface = sd_bus_message_get_interface(m);
    bool own = !s || s->uid == c->uid;
    struct ptraced_path path;
    int r;

    if (!rule)
        return sd_bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_METHOD,
                                 "There is no method %s in interface %s",
                                 sd_bus_message_get_member(m), interface ? interface : "(none)");
    ptraced_path_parse(sd_bus_message_get_path(m), &path);
    if ((!own && c->permits.manage) || is_met(need_of(rule, own, &path), c, s, pid_of(&path)))
        return 0;
    r = explain(c, s, rule, error);
    audit_call_refused(c, m, error->message);
    return r;
}

bool auth_may_see(const struct caller *c, const struct session *s)
{
    return (s->uid != c->uid && c->permits.list_other) ||
           is_met(s->uid == c->uid ? NEED_SERVICE : NEED_ROOT, c, s, 0);
}

bool auth_may_be_shown(const struct caller *c, const struct session *s, const struct permits *p)
{
    return (s->uid == c->uid ? p->list || is_holder(c, s) : p->list_other) ||
           is_met(s->uid == c->uid ? NEED_CLEARANCE : NEED_ROOT, c, s, 0);
}

bool auth_may_see_processes(const struct caller *c, const struct session *s)
{
    return auth_may_be_shown(c, s, &c->permits);
}
