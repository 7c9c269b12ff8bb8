/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/regs.h"
#include "daemon/tracer/access.h"
#include "daemon/tracer/breakpoint-bus.h"
#include "daemon/tracer/late.h"
#include "daemon/tracer/memory-bus.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/options.h"
#include "daemon/tracer/tracer.h"

/* Process objects. The broker has authorised what arrives here. */

static int find(sd_bus_message *m, void *userdata, struct process_object *ret, sd_bus_error *error)
{
    return objects_find_process(userdata, sd_bus_message_get_path(m), ret, error);
}

static pid_t pid_of(const struct process_object *o)
{
    return o->attachment->process->pidref.pid;
}

static int method_detach(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    int r = find(m, userdata, &o, error);

    if (r >= 0)
        r = trace_detach(o.tracer->trace, o.session->core, pid_of(&o), 0);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_interrupt(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    int r = find(m, userdata, &o, error);
    pid_t pid;

    if (r < 0)
        return r;
    pid = pid_of(&o); /* the process may end meanwhile */
    r = trace_interrupt(o.tracer->trace, o.session->core, pid, 0);
    return r < 0 ? r : late_answer(o.tracer, o.session, pid, m);
}

static int method_continue(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct continue_options options = CONTINUE_OPTIONS_DEFAULT;
    struct process_object o = {0};
    int r = find(m, userdata, &o, error);

    if (r >= 0)
        r = options_read_continue(m, false, &options, error);
    if (r >= 0)
        r = trace_continue(o.tracer->trace, o.session->core, pid_of(&o), 0, &options);
    if (r == -EACCES)
        return access_refuse(m, error);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

/* `r` is what sending it has come to. */
static int reply_signalled(sd_bus_message *m, pid_t pid, int signo, int r, sd_bus_error *error)
{
    if (r == -ESRCH)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS, "Process %d has ended", pid);
    if (r < 0)
        return sd_bus_error_set_errnof(error, r, "Could not send signal %d to process %d: %s",
                                       signo, pid, strerror(-r));
    return sd_bus_reply_method_return(m, NULL);
}

static int method_kill(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    int r = find(m, userdata, &o, error);
    pid_t pid;

    if (r < 0)
        return r;
    pid = pid_of(&o); /* the process may be gone by the answer */
    r = trace_kill(o.tracer->trace, o.session->core, pid);
    return reply_signalled(m, pid, SIGKILL, r, error);
}

static int method_signal(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    int signo, r = find(m, userdata, &o, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "i", &signo);
    if (r < 0)
        return r;
    if (signo < 1 || signo > SIGRTMAX)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "There is no signal %d; they are 1 to %d", signo, SIGRTMAX);
    r = process_check_grant(o.attachment) < 0
            ? -ESRCH
            : pidref_signal(&o.attachment->process->pidref, signo);
    return reply_signalled(m, pid_of(&o), signo, r, error);
}

static int append_thread(sd_bus_message *reply, const struct process_object *o,
                         const struct tracee *tracee)
{
    char path[PTRACED_PATH_MAX];

    return sd_bus_message_append(reply, "(uos)", (uint32_t)tracee->tid,
                                 ptraced_path_thread(path, o->session->id, pid_of(o), tracee->tid),
                                 tracee_state_to_string(tracee));
}

static int method_list_threads(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    const struct tracee *tracee;
    struct process_object o = {0};
    int r = find(m, userdata, &o, error);

    if (r >= 0)
        r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(uos)");
    if (r < 0)
        return r;
    TAILQ_FOREACH(tracee, &o.attachment->process->tracees, siblings) {
        if (!engine_find(tracee, o.attachment))
            continue;
        r = append_thread(reply, &o, tracee);
        if (r < 0)
            return r;
    }
    r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_set_event_filter(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    struct filter wanted, *filter;
    int r = find(m, userdata, &o, error);

    if (r < 0)
        return r;
    wanted = *o.attachment->filter;
    r = options_read_filter(m, &wanted, error);
    if (r < 0)
        return r;
    if (o.attachment->observe && access_takes_control(&wanted))
        return access_refuse(m, error);
    filter = filter_new(&wanted);
    if (!filter)
        return -ENOMEM;
    r = trace_set_filter(o.tracer->trace, o.session->core, pid_of(&o), filter);
    filter_unref(filter);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int property_pid(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    int r = objects_find_process(userdata, path, &o, error);

    return r < 0 ? r : sd_bus_message_append(reply, "u", (uint32_t)pid_of(&o));
}

static int property_executable(sd_bus *bus, const char *path, const char *interface,
                               const char *property, sd_bus_message *reply, void *userdata,
                               sd_bus_error *error)
{
    _cleanup_free_string_ char *escaped = NULL;
    char link[32], target[PATH_MAX];
    struct process_object o = {0};
    ssize_t n;
    int r = objects_find_process(userdata, path, &o, error);

    if (r < 0)
        return r;
    snprintf(link, sizeof(link), "/proc/%d/exe", pid_of(&o));
    n = readlink(link, target, sizeof(target));
    escaped = ptraced_escape(target, n < 0 ? 0 : (size_t)n);
    if (!escaped)
        return -ENOMEM;
    return sd_bus_message_append(reply, "s", escaped);
}

/* Empty where it has none, or is hidden from us. */
static int property_architecture(sd_bus *bus, const char *path, const char *interface,
                                 const char *property, sd_bus_message *reply, void *userdata,
                                 sd_bus_error *error)
{
    const struct arch *arch = NULL;
    struct process_object o = {0};
    int r = objects_find_process(userdata, path, &o, error);

    if (r < 0)
        return r;
    (void)arch_of_process(pid_of(&o), &arch);
    return sd_bus_message_append(reply, "s", arch ? arch->name : "");
}

static int property_uid(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    struct proc_status status;
    struct process_object o = {0};
    int r = objects_find_process(userdata, path, &o, error);

    if (r < 0)
        return r;
    r = proc_read_status(pid_of(&o), &status);
    return sd_bus_message_append(reply, "u", r < 0 ? UINT32_MAX : (uint32_t)status.uids[0]);
}

static int property_n_threads(sd_bus *bus, const char *path, const char *interface,
                              const char *property, sd_bus_message *reply, void *userdata,
                              sd_bus_error *error)
{
    struct process_object o = {0};
    int r = objects_find_process(userdata, path, &o, error);

    return r < 0 ? r : sd_bus_message_append(reply, "u", (uint32_t)o.attachment->n_engines);
}

static int property_backend(sd_bus *bus, const char *path, const char *interface,
                            const char *property, sd_bus_message *reply, void *userdata,
                            sd_bus_error *error)
{
    return sd_bus_message_append(reply, "s", "ptrace");
}

static int property_block_step(sd_bus *bus, const char *path, const char *interface,
                               const char *property, sd_bus_message *reply, void *userdata,
                               sd_bus_error *error)
{
    static const char *const names[] = {
        [BLOCK_STEP_UNKNOWN] = "",
        [BLOCK_STEP_NONE] = "none",
        [BLOCK_STEP_INSTRUCTION] = "instruction",
        [BLOCK_STEP_BLOCK] = "block",
    };
    struct process_object o = {0};
    int r = objects_find_process(userdata, path, &o, error);

    return r < 0 ? r
                 : sd_bus_message_append(reply, "s", names[trace_get_block_step(o.tracer->trace)]);
}

const sd_bus_vtable process_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Detach", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_detach,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Interrupt", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_interrupt,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Continue", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT,
                            method_continue, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Kill", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_kill,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Signal", SD_BUS_ARGS("i", signal), SD_BUS_NO_RESULT, method_signal,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListThreads", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(uos)", threads),
                            method_list_threads, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetEventFilter", SD_BUS_ARGS("a{sv}", filter), SD_BUS_NO_RESULT,
                            method_set_event_filter, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadMemory", SD_BUS_ARGS("t", address, "t", size),
                            SD_BUS_RESULT("ay", bytes), memory_method_read,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadMemoryRanges", SD_BUS_ARGS("a(tt)", ranges),
                            SD_BUS_RESULT("aay", bytes), memory_method_read_ranges,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("WriteMemory", SD_BUS_ARGS("t", address, "ay", bytes), SD_BUS_NO_RESULT,
                            memory_method_write, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadMemoryFD", SD_BUS_ARGS("a(tt)", ranges), SD_BUS_RESULT("h", memfd),
                            memory_method_read_fd, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("OpenMemory", SD_BUS_ARGS("s", mode), SD_BUS_RESULT("h", memory),
                            memory_method_open, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("OpenMaps", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", maps),
                            files_method_open_maps, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadMaps", SD_BUS_NO_ARGS, SD_BUS_RESULT("ay", maps),
                            files_method_read_maps, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("OpenMappedFile", SD_BUS_ARGS("t", address), SD_BUS_RESULT("h", file),
                            files_method_open_mapped_file, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadMappedFile", SD_BUS_ARGS("t", address, "t", offset, "t", size),
                            SD_BUS_RESULT("ay", bytes), files_method_read_mapped_file,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReadAuxv", SD_BUS_NO_ARGS, SD_BUS_RESULT("ay", auxv),
                            files_method_read_auxv, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetCommandLine", SD_BUS_NO_ARGS, SD_BUS_RESULT("aay", arguments),
                            files_method_get_command_line, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Snapshot", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("h", snapshot),
                            snapshot_method_take, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("AddBreakpoint", SD_BUS_ARGS("t", address, "s", kind, "a{sv}", options),
                            SD_BUS_RESULT("u", id), breakpoint_method_add,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("RemoveBreakpoint", SD_BUS_ARGS("u", id), SD_BUS_NO_RESULT,
                            breakpoint_method_remove, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListBreakpoints", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", breakpoints),
                            breakpoint_method_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("EntryPoint", "t", files_property_entry_point, 0, 0),
    SD_BUS_PROPERTY("Pid", "u", property_pid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Executable", "s", property_executable, 0, 0),
    SD_BUS_PROPERTY("Architecture", "s", property_architecture, 0, 0),
    SD_BUS_PROPERTY("Uid", "u", property_uid, 0, 0),
    SD_BUS_PROPERTY("NThreads", "u", property_n_threads, 0, 0),
    SD_BUS_PROPERTY("BlockStep", "s", property_block_step, 0, 0),
    SD_BUS_PROPERTY("Backend", "s", property_backend, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};
