/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/macro.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/trace.h"
#include "daemon/tracer/explain.h"

static char *comm_of(pid_t tid)
{
    char comm[PROC_COMM_MAX];

    if (proc_read_comm(tid, comm) < 0)
        strcpy(comm, "?");
    return ptraced_escape(comm, strlen(comm));
}

static int explain_tracer(sd_bus_error *error, pid_t pid, pid_t tracer)
{
    _cleanup_free_string_ char *comm = comm_of(tracer);

    return sd_bus_error_setf(
        error, PTRACED_ERROR_ALREADY_TRACED,
        "Process %d is traced by process %d (%s) already, and Linux allows one "
        "tracer; end that one first, or let it use ptraced too",
        pid, tracer, comm ? comm : "?");
}

static int explain_yama(sd_bus_error *error, pid_t pid, int scope)
{
    if (scope == 3)
        return sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_SUPPORTED,
            "Process %d cannot be traced: kernel.yama.ptrace_scope is 3, which "
            "forbids tracing until the next boot",
            pid);
    return sd_bus_error_setf(
        error, PTRACED_ERROR_NOT_PERMITTED,
        "The kernel does not permit to trace process %d: "
        "kernel.yama.ptrace_scope is %d (%s); start the program under ptraced, "
        "or use the system service",
        pid, scope,
        scope == 1 ? "a program traces its own children alone"
                   : "only who has CAP_SYS_PTRACE traces");
}

static int explain_permission(sd_bus_error *error, pid_t pid)
{
    struct proc_status status;
    struct proc_stat stat;
    pid_t tracer;
    int scope;

    if (proc_read_status(pid, &status) < 0)
        return explain_attach(error, -ESRCH, pid, 0);
    tracer = proc_read_tracer(pid);
    if (tracer != 0)
        return explain_tracer(error, pid, tracer);
    if (proc_read_stat(pid, pid, &stat) >= 0 && (stat.flags & PROC_FLAG_KTHREAD)) {
        _cleanup_free_string_ char *comm = comm_of(pid);

        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "Process %d (%s) is a kernel thread; those cannot be traced", pid,
                                 comm ? comm : "?");
    }
    scope = proc_read_yama_scope();
    if (scope == 3)
        return explain_yama(error, pid, scope);
    if (geteuid() != 0 && status.uids[0] != getuid())
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                                 "The kernel does not permit to trace process %d: it runs as user "
                                 "%u and you are %u; that needs CAP_SYS_PTRACE",
                                 pid, status.uids[0], getuid());
    if (geteuid() != 0 && scope > 0)
        return explain_yama(error, pid, scope);
    return sd_bus_error_setf(
        error, PTRACED_ERROR_NOT_PERMITTED,
        "The kernel does not permit to trace process %d: it is privileged, not "
        "dumpable (see prctl(2), PR_SET_DUMPABLE), in another user namespace, "
        "or a security module forbids it; that needs CAP_SYS_PTRACE",
        pid);
}

int explain_attach(sd_bus_error *error, int failure, pid_t pid, pid_t tid)
{
    switch (-failure) {
    case EPERM:
    case EACCES:
        return explain_permission(error, pid);
    case ESRCH:
        if (tid != 0)
            return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD,
                                     "Process %d has no thread %d (any more)", pid, tid);
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                 "Process %d does not exist (any more)", pid);
    case EINPROGRESS:
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED, EXPLAIN_ASKED_TEXT, pid);
    case ENOKEY:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_PERMITTED,
            "The proof is none for process %d: it has to be /proc/%d/mem, opened "
            "since its last exec, for writing too where not access \"observe\" "
            "is asked for; without a proof polkit is asked",
            pid, pid);
    case EKEYREJECTED:
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                                 "Process %d has, by now, other users, groups or capabilities than "
                                 "this session may trace, is not dumpable, or executes another "
                                 "program; nothing was attached",
                                 pid);
    case EDQUOT:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_LIMIT_EXCEEDED,
            "The limit ThreadsMax is reached: process %d has more threads than "
            "are left of those that one user's sessions may trace; detach "
            "from others first",
            pid);
    case E2BIG:
        return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                                 "The limit TracerThreadsMax is reached: no more than %u threads "
                                 "of a tree of processes, and process %d has more than are left; "
                                 "detach from others first",
                                 TRACE_THREADS_MAX, pid);
    case EBUSY:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_TIMED_OUT,
            "Process %d starts threads faster than they could be attached; try "
            "again",
            pid);
    case ETIMEDOUT:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_TIMED_OUT,
            "Process %d is in execve(2) and does not get on: its file does not arrive, or one of "
            "its threads is held by a tracer; try again",
            pid);
    default:
        return sd_bus_error_set_errnof(error, failure, "Could not attach to process %d: %s", pid,
                                       strerror(-failure));
    }
}
