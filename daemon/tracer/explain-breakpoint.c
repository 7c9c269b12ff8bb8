/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/names.h"
#include "daemon/trace/breakpoint.h"
#include "daemon/trace/quota.h"
#include "daemon/trace/space.h"
#include "daemon/tracer/breakpoint-bus.h"

#define WHAT_MAX 128u

/* "Could not set a software breakpoint at 0x1000 in process 1". */
static const char *describe(char what[static WHAT_MAX], const struct breakpoint_options *o,
                            pid_t pid)
{
    switch (o->kind) {
    case BREAKPOINT_SOFTWARE:
    case BREAKPOINT_HARDWARE:
        snprintf(what, WHAT_MAX, "Could not set a %s breakpoint at 0x%" PRIx64 " in process %d",
                 breakpoint_kind_to_string(o->kind), o->address, pid);
        break;
    case BREAKPOINT_WRITE:
    case BREAKPOINT_READ_WRITE:
    case BREAKPOINT_KIND_MAX:
        snprintf(what, WHAT_MAX,
                 "Could not set a %s watchpoint on %u bytes at 0x%" PRIx64 " in process %d",
                 breakpoint_kind_to_string(o->kind), o->size, o->address, pid);
        break;
    }
    return what;
}

static int explain_space(sd_bus_error *error, const struct breakpoint_options *o, const char *what)
{
    if (o->kind == BREAKPOINT_SOFTWARE)
        return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                                 "%s: the limit LocationsMax is reached: no more than %u addresses "
                                 "for the breakpoints of all sessions; remove one, or use kind "
                                 "'hardware'",
                                 what, LOCATIONS_MAX);
    return sd_bus_error_setf(
        error, PTRACED_ERROR_LIMIT_EXCEEDED,
        "%s: the limit DebugRegistersMax is reached: no more than the machine's "
        "debug registers, which are all in use; remove a breakpoint that is "
        "not of kind 'software'",
        what);
}

static int explain_value(sd_bus_error *error, const struct breakpoint_options *o, const char *what)
{
    if (o->size > 1 && o->address % o->size != 0)
        return sd_bus_error_setf(error, PTRACED_ERROR_BAD_ADDRESS,
                                 "%s: the address is no multiple of %u, as the machine demands; "
                                 "watch smaller pieces",
                                 what, o->size);
    return sd_bus_error_setf(error, PTRACED_ERROR_BAD_ADDRESS,
                             "%s: no program has memory at this address", what);
}

int explain_breakpoint(sd_bus_error *error, int failure, const struct breakpoint_options *o,
                       pid_t pid, const struct quota_user *quota)
{
    char buffer[WHAT_MAX];
    const char *what = describe(buffer, o, pid);

    switch (-failure) {
    case EFAULT:
        return sd_bus_error_setf(error, PTRACED_ERROR_BAD_ADDRESS,
                                 "%s: nothing is mapped there; ReadMaps tells what is", what);
    case EACCES:
        return sd_bus_error_setf(error, PTRACED_ERROR_BAD_ADDRESS,
                                 "%s: that is not executable private memory: a breakpoint there "
                                 "would change data, or another's program; to watch data use kind "
                                 "'write' or 'read-write'",
                                 what);
    case EDQUOT:
        return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                                 "%s: the limit BreakpointsMax is reached: no more than %u "
                                 "breakpoints of one user; remove one first",
                                 what, quota_max(quota, QUOTA_BREAKPOINTS));
    case ENOSPC:
        return explain_space(error, o, what);
    case ETXTBSY:
        return sd_bus_error_setf(error, PTRACED_ERROR_EXCLUDED,
                                 "%s: this session or another has opened its memory for writing "
                                 "(OpenMemory), and could overwrite it unseen; that ends with the "
                                 "process's next exec, and kind 'hardware' writes nothing",
                                 what);
    case EINVAL:
        return explain_value(error, o, what);
    case EPERM:
        return sd_bus_error_setf(error, PTRACED_ERROR_ALREADY_TRACED,
                                 "%s: another program traces one of its threads, which the "
                                 "breakpoint would kill; end that program's tracing first",
                                 what);
    case EOPNOTSUPP:
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "%s: there are none of that kind on this machine", what);
    case EKEYREJECTED:
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                                 "%s: it has executed a program that a session may not trace",
                                 what);
    case ESTALE:
        return sd_bus_error_setf(error, PTRACED_ERROR_BAD_ADDRESS,
                                 "%s: it has just executed another program, in which that address "
                                 "means something else",
                                 what);
    case ESRCH:
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                 "%s: it has ended, or is about to", what);
    default:
        return sd_bus_error_set_errnof(error, failure, "%s: %s", what, strerror(-failure));
    }
}

int explain_writer(sd_bus_error *error, pid_t pid)
{
    return sd_bus_error_setf(error, PTRACED_ERROR_EXCLUDED,
                             "Could not open the memory of process %d for writing: there are "
                             "breakpoints in it, this session's or another's, which the "
                             "descriptor would show and could overwrite; use WriteMemory, or "
                             "remove them first",
                             pid);
}
