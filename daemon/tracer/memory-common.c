/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/trace/engine.h"
#include "daemon/tracer/memory-bus.h"
#include "daemon/tracer/tracer.h"

int memory_find(sd_bus_message *m, struct tracer *t, struct process **ret, sd_bus_error *error)
{
    struct process_object o = {0};
    int r = objects_find_process(t, sd_bus_message_get_path(m), &o, error);

    if (r < 0)
        return r;
    *ret = o.attachment->process;
    return 0;
}

int memory_explain(sd_bus_error *error, int failure, pid_t pid, const char *what)
{
    switch (-failure) {
    case EFAULT:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_BAD_ADDRESS,
            "Could not %s: process %d has nothing mapped there, or nothing that may be touched",
            what, pid);
    case ESRCH:
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                 "Could not %s: process %d has ended, or is about to", what, pid);
    case EPERM:
    case EACCES:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_PERMITTED,
            "Could not %s: the kernel does not permit it for process %d; it may have "
            "executed a privileged program, or a security module forbids it",
            what, pid);
    default:
        return sd_bus_error_set_errnof(error, failure, "Could not %s of process %d: %s", what, pid,
                                       strerror(-failure));
    }
}

int memory_explain_limit(sd_bus_error *error, const char *method, const char *limit, uint64_t max,
                         const char *of_what, const char *remedy)
{
    return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                             "The limit %s is reached: no more than %" PRIu64
                             " %s in a call of %s; "
                             "%s",
                             limit, max, of_what, method, remedy);
}

int memory_check_range(uint64_t address, uint64_t size, sd_bus_error *error)
{
    if (size == 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "A size of 0 at 0x%" PRIx64 ": there is nothing to do", address);
    if (size - 1 > UINT64_MAX - address)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "%" PRIu64 " bytes at 0x%" PRIx64 " reach beyond 64 bits", size,
                                 address);
    return 0;
}

int memory_reply_bytes(sd_bus_message *m, const void *bytes, size_t size)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r = sd_bus_message_new_method_return(m, &reply);

    if (r >= 0)
        r = sd_bus_message_append_array(reply, 'y', bytes, size);
    return r < 0 ? r : sd_bus_message_send(reply);
}

int memory_reply_fd(sd_bus_message *m, int fd)
{
    int r = sd_bus_reply_method_return(m, "h", fd);

    close(fd);
    return r;
}

int memory_reply_opened(sd_bus_message *m, struct tracer *t, int fd)
{
    struct process_object o = {0};

    if (objects_find_process(t, sd_bus_message_get_path(m), &o, NULL) >= 0)
        tracer_tell_executable(o.session, o.attachment->process);
    return memory_reply_fd(m, fd);
}
