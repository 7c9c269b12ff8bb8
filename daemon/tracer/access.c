/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/observe.h"
#include "daemon/tracer/access.h"
#include "daemon/tracer/tracer.h"

/* Methods that change a process, or stop it for longer than an observer may. */
static const struct {
    const char *interface;
    const char *member;
} for_control[] = {
    {PTRACED_PROCESS_INTERFACE, "Kill"},          {PTRACED_PROCESS_INTERFACE, "Signal"},
    {PTRACED_PROCESS_INTERFACE, "WriteMemory"},   {PTRACED_PROCESS_INTERFACE, "OpenMemory"},
    {PTRACED_PROCESS_INTERFACE, "AddBreakpoint"}, {PTRACED_PROCESS_INTERFACE, "RemoveBreakpoint"},
    {PTRACED_THREAD_INTERFACE, "Step"},           {PTRACED_THREAD_INTERFACE, "SetRegisters"},
    {PTRACED_THREAD_INTERFACE, "SetRegisterSet"}, {PTRACED_THREAD_INTERFACE, "SetSignalInfo"},
};

static bool takes_control(sd_bus_message *m)
{
    const char *interface = sd_bus_message_get_interface(m);
    const char *member = sd_bus_message_get_member(m);

    for (size_t i = 0; i < ELEMENTSOF(for_control); i++)
        if (interface && strcmp(interface, for_control[i].interface) == 0 &&
            strcmp(member, for_control[i].member) == 0)
            return true;
    return false;
}

/* NULL: the session has control, or none of the process at all. */
static const struct attachment *find_observer(const struct tracer *t, const char *path)
{
    const struct tracer_session *s;
    const struct attachment *a;
    struct ptraced_path parsed;

    ptraced_path_parse(path, &parsed);
    if (parsed.kind != PTRACED_PATH_PROCESS && parsed.kind != PTRACED_PATH_THREAD)
        return NULL;
    s = tracer_find_session(t, parsed.session);
    a = s ? session_find(s->core, parsed.pid) : NULL;
    return a && a->observe ? a : NULL;
}

bool access_takes_control(const struct filter *f)
{
    return filter_asks_for_seccomp(f);
}

int access_refuse(sd_bus_message *m, sd_bus_error *error)
{
    return sd_bus_error_setf(
        error, PTRACED_ERROR_NOT_PERMITTED,
        "This session may only observe the process: %s%s takes control; attach "
        "to it again with the option access \"control\"",
        sd_bus_message_get_member(m), takes_control(m) ? "" : " with these options");
}

static bool stops(sd_bus_message *m)
{
    return sd_bus_message_is_method_call(m, PTRACED_PROCESS_INTERFACE, "Interrupt") ||
           sd_bus_message_is_method_call(m, PTRACED_THREAD_INTERFACE, "Interrupt");
}

/* Else it would be told of a stop that was none. */
static int refuse_stop(const struct attachment *a, sd_bus_error *error)
{
    const char *rest = "of which half as much comes back as it runs; try again a little later";

    if (a->grant && a->grant->observe_usec < OBSERVE_HOLD_USEC)
        return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                                 "The limit ObserveMSecMax is reached: no more than its user has "
                                 "left of it to hold process %d for, which is not that user's own, "
                                 "%s",
                                 a->process->pidref.pid, rest);
    return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                             "The limit HoldMSecMax is reached: no more than %u milliseconds for "
                             "which sessions that only observe hold process %d, %s",
                             (unsigned)(OBSERVE_HOLD_USEC / 1000), a->process->pidref.pid, rest);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const struct attachment *a;

    if (!sd_bus_message_is_method_call(m, NULL, NULL))
        return 0;
    a = find_observer(userdata, sd_bus_message_get_path(m));
    if (!a)
        return 0;
    if (takes_control(m))
        return access_refuse(m, error);
    return stops(m) && !observe_may_hold(a) ? refuse_stop(a, error) : 0;
}

int access_add(struct tracer *t, sd_bus *bus)
{
    return sd_bus_add_filter(bus, NULL, on_message, t);
}

static int on_due(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct tracer *t = userdata;
    uint64_t next = observe_let_go(t->trace);
    int r;

    t->output_pending = true;
    if (next == 0)
        return 0;
    r = sd_event_source_set_time(source, next);
    return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int access_watch_holds(struct tracer *t)
{
    const uint64_t accuracy = 10000;
    uint64_t next = observe_let_go(t->trace);
    int r;

    t->rearm = true;
    if (next == 0)
        return 0;
    if (!t->holds_timer)
        return sd_event_add_time(t->event, &t->holds_timer, CLOCK_MONOTONIC, next, accuracy, on_due,
                                 t);
    r = sd_event_source_set_time(t->holds_timer, next);
    return r < 0 ? r : sd_event_source_set_enabled(t->holds_timer, SD_EVENT_ONESHOT);
}
