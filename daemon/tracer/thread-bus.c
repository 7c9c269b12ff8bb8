/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/procfs.h"
#include "daemon/tracer/access.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/options.h"
#include "daemon/tracer/registers-bus.h"
#include "daemon/tracer/siginfo-bus.h"
#include "daemon/tracer/stream.h"
#include "daemon/tracer/tracer.h"

/* Thread objects. The broker has authorised what arrives here, and serves GetEvent itself. */

static int find(sd_bus_message *m, void *userdata, struct process_object *ret,
                struct tracee **ret_tracee, sd_bus_error *error)
{
    return objects_find_thread(userdata, sd_bus_message_get_path(m), ret, ret_tracee, error);
}

static pid_t pid_of(const struct process_object *o)
{
    return o->attachment->process->pidref.pid;
}

static int method_detach(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    struct tracee *tracee;
    int r = find(m, userdata, &o, &tracee, error);

    if (sd_bus_error_has_name(error, PTRACED_ERROR_NO_SUCH_THREAD)) {
        sd_bus_error_free(error);
        return sd_bus_reply_method_return(m, "b", false);
    }
    if (r >= 0)
        r = trace_detach(o.tracer->trace, o.session->core, pid_of(&o), tracee->tid);
    return r < 0 ? r : sd_bus_reply_method_return(m, "b", r > 0);
}

static int method_interrupt(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    struct tracee *tracee;
    int r = find(m, userdata, &o, &tracee, error);

    if (r < 0)
        return r;
    r = trace_interrupt(o.tracer->trace, o.session->core, pid_of(&o), tracee->tid);
    if (r == -ESRCH)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD,
                                 "Thread %d of process %d has ended; it cannot be stopped",
                                 tracee->tid, pid_of(&o));
    return r < 0 ? r : sd_bus_reply_method_return(m, "b", r > 0);
}

static int continue_thread(sd_bus_message *m, const struct process_object *o, pid_t tid,
                           const struct continue_options *options, sd_bus_error *error)
{
    int r = trace_continue(o->tracer->trace, o->session->core, pid_of(o), tid, options);

    if (r == -EACCES)
        return access_refuse(m, error);
    if (r == -ENOMSG)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Option 'signal': thread %d of process %d does not stand at a "
                                 "signal, so there is none to replace; Process.Signal sends one",
                                 tid, pid_of(o));
    return r;
}

static int method_continue(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct continue_options options = CONTINUE_OPTIONS_DEFAULT;
    struct process_object o = {0};
    struct tracee *tracee;
    int r = find(m, userdata, &o, &tracee, error);

    if (r >= 0)
        r = options_read_continue(m, true, &options, error);
    if (r >= 0)
        r = continue_thread(m, &o, tracee->tid, &options, error);
    return r < 0 ? r : sd_bus_reply_method_return(m, "b", r > 0);
}

static int method_step(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct continue_options options = CONTINUE_OPTIONS_DEFAULT;
    struct process_object o = {0};
    struct tracee *tracee;
    int r = find(m, userdata, &o, &tracee, error);

    if (r >= 0)
        r = options_read_step(m, &options, error);
    if (r >= 0)
        r = objects_check_held(&o, tracee, error);
    if (r >= 0)
        r = continue_thread(m, &o, tracee->tid, &options, error);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

/* The broker answers it, since it knows who waits and whether they still do. Here it stands for
 * introspection. */
static int method_get_event(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return sd_bus_error_set(error, PTRACED_ERROR_NOT_SUPPORTED, "Events are handed out by ptraced");
}

static int property_tid(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    struct tracee *tracee;
    int r = objects_find_thread(userdata, path, &o, &tracee, error);

    return r < 0 ? r : sd_bus_message_append(reply, "u", (uint32_t)tracee->tid);
}

static int property_name(sd_bus *bus, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    _cleanup_free_string_ char *escaped = NULL;
    char comm[PROC_COMM_MAX] = "";
    struct process_object o = {0};
    struct tracee *tracee;
    int r = objects_find_thread(userdata, path, &o, &tracee, error);

    if (r < 0)
        return r;
    (void)proc_read_comm(tracee->tid, comm);
    escaped = ptraced_escape(comm, strlen(comm));
    return escaped ? sd_bus_message_append(reply, "s", escaped) : -ENOMEM;
}

static int property_state(sd_bus *bus, const char *path, const char *interface,
                          const char *property, sd_bus_message *reply, void *userdata,
                          sd_bus_error *error)
{
    struct process_object o = {0};
    struct tracee *tracee;
    int r = objects_find_thread(userdata, path, &o, &tracee, error);

    return r < 0 ? r : sd_bus_message_append(reply, "s", tracee_state_to_string(tracee));
}

static int property_stop_reason(sd_bus *bus, const char *path, const char *interface,
                                const char *property, sd_bus_message *reply, void *userdata,
                                sd_bus_error *error)
{
    const struct engine *engine;
    struct process_object o = {0};
    struct tracee *tracee;
    int r = objects_find_thread(userdata, path, &o, &tracee, error);

    if (r < 0)
        return r;
    engine = engine_find(tracee, o.attachment);
    return sd_bus_message_append(reply, "s",
                                 engine->held ? stream_kind_name(engine->held->kind) : "");
}

const sd_bus_vtable thread_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Detach", SD_BUS_NO_ARGS, SD_BUS_RESULT("b", done), method_detach,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Interrupt", SD_BUS_NO_ARGS, SD_BUS_RESULT("b", sent), method_interrupt,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Continue", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("b", done),
                            method_continue, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Step", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_step,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetSignalInfo", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", info),
                            method_get_signal_info, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetSignalInfo", SD_BUS_ARGS("a{sv}", info), SD_BUS_NO_RESULT,
                            method_set_signal_info, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetEvent", SD_BUS_ARGS("t", timeout_usec),
                            SD_BUS_RESULT(PTRACED_EVENT_SIGNATURE, event), method_get_event,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetRegisters", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", registers),
                            registers_method_get, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetRegisters", SD_BUS_ARGS("a{sv}", registers), SD_BUS_NO_RESULT,
                            registers_method_set, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetRegisterSet", SD_BUS_ARGS("s", name), SD_BUS_RESULT("ay", bytes),
                            registers_method_get_set, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetRegisterSet", SD_BUS_ARGS("s", name, "ay", bytes), SD_BUS_NO_RESULT,
                            registers_method_set_set, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Tid", "u", property_tid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Name", "s", property_name, 0, 0),
    SD_BUS_PROPERTY("State", "s", property_state, 0, 0),
    SD_BUS_PROPERTY("StopReason", "s", property_stop_reason, 0, 0),
    SD_BUS_PROPERTY("ProgramCounter", "t", registers_property_program_counter, 0, 0),
    SD_BUS_PROPERTY("StackPointer", "t", registers_property_stack_pointer, 0, 0),
    SD_BUS_VTABLE_END,
};
