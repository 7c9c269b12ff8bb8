/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/advice.h"
#include "client/ctl/macro.h"
#include "client/ctl/proc.h"

static char *format(const char *f, ...) _printf_(1, 2);

static char *format(const char *f, ...)
{
    char *s = NULL;
    va_list ap;

    va_start(ap, f);
    if (vasprintf(&s, f, ap) < 0)
        s = NULL;
    va_end(ap);
    return s;
}

static bool says(const char *said, const char *word)
{
    return said && strcasestr(said, word);
}

static char *name_tracer(pid_t pid, pid_t tracer)
{
    _cleanup_free_ char *comm = proc_comm(tracer, tracer);

    return format("Process %d is traced already, by %s (process %d), and the kernel allows one "
                  "tracer. End that one first.",
                  pid, comm ? comm : "another program", tracer);
}

static char *name_owner(pid_t pid, uid_t owner)
{
    const struct passwd *user = getpwuid(owner);

    return format("Process %d belongs to user %s (uid %u), and you are uid %u: trace it as that "
                  "user or as root.",
                  pid, user ? user->pw_name : "?", owner, geteuid());
}

static char *name_yama(int scope)
{
    if (scope == 1)
        return format("kernel.yama.ptrace_scope is 1: without CAP_SYS_PTRACE only descendants may "
                      "be traced. Start the program with 'ptracectl run', trace it as root, or let "
                      "root set kernel.yama.ptrace_scope to 0.");
    if (scope == 2)
        return format("kernel.yama.ptrace_scope is 2: tracing needs CAP_SYS_PTRACE. Trace as root, "
                      "or let root set kernel.yama.ptrace_scope lower.");
    return format("kernel.yama.ptrace_scope is 3: nothing may be traced until the next boot.");
}

static char *name_right(void)
{
    if (geteuid() == 0)
        return format("Either CAP_SYS_PTRACE is missing here (a container?) or a security module "
                      "forbids it.");
    return format("The program may be set-user-id, have file capabilities or not be dumpable: that "
                  "needs CAP_SYS_PTRACE. Trace it as root.");
}

/* The kernel says EPERM for half a dozen reasons; they are asked for in the order in which it
 * would give them. */
static char *explain_refusal(const char *said, pid_t pid)
{
    struct proc_status status;
    int scope = proc_yama_scope();

    /* The service's own refusal: no right would change it. */
    if (says(said, "belongs to ptraced"))
        return NULL;
    if (pid > 0 && proc_read_status(pid, &status) >= 0) {
        if (status.kernel_thread)
            return says(said, "kernel thread")
                       ? NULL
                       : format("Process %d is a kernel thread. Nobody can trace those.", pid);
        if (status.state == 'Z')
            return says(said, "zombie")
                       ? NULL
                       : format("Process %d has ended; its parent hasn't waited for it yet.", pid);
        if (status.tracer > 0)
            return says(said, "traced") ? NULL : name_tracer(pid, status.tracer);
        if (geteuid() != 0 && status.uid != geteuid())
            return says(said, "uid") || says(said, "user") ? NULL : name_owner(pid, status.uid);
    }
    if (scope >= 2 || (scope == 1 && geteuid() != 0))
        return says(said, "yama") ? NULL : name_yama(scope);
    return says(said, "CAP_SYS_PTRACE") ? NULL : name_right();
}

static char *explain_busy(const char *said, pid_t pid)
{
    struct proc_status status;
    char number[16];

    if (pid <= 0 || proc_read_status(pid, &status) < 0 || status.tracer <= 0)
        return NULL;
    snprintf(number, sizeof(number), "%d", status.tracer);
    return says(said, number) ? NULL : name_tracer(pid, status.tracer);
}

/* A thread's id taken for a process: the service says so, but not whose thread it is. */
static char *name_process(pid_t tid)
{
    struct proc_status status;

    if (tid <= 0 || proc_read_status(tid, &status) < 0 || status.process == tid)
        return NULL;
    return format("It is a thread of process %d: give that number.", status.process);
}

/* What the policy keeps for others may still be had in embedded mode. */
static char *name_embedded(const char *said, bool embedded)
{
    if (embedded)
        return format("With --embedded, ptracectl traces without the service, with your own "
                      "rights.");
    if (!says(said, "policy of the bus"))
        return NULL;
    return format("With --embedded, 'run' and 'events -p' trace without the service, with your own "
                  "rights.");
}

char *advice_for(int r, const char *said, pid_t pid, bool local, bool embedded)
{
    switch (r) {
    case -EPERM:
        return local ? explain_refusal(said, pid) : NULL;
    case -EBUSY:
        return local ? explain_busy(said, pid) : NULL;
    case -EACCES:
        return local ? name_embedded(said, embedded) : NULL;
    case -ESRCH:
        return local ? name_process(pid) : NULL;
    case -ENXIO:
        return says(said, "ptracectl sessions") ? NULL
                                                : format("'ptracectl sessions' lists what there "
                                                         "is.");
    case -EUNATCH:
        return says(said, "ptracectl status") ? NULL
                                              : format("'ptracectl status' shows which session "
                                                       "traces what.");
    default:
        return NULL;
    }
}
