/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/ptrace.h>
#include <sys/wait.h>

#include "daemon/trace/stop.h"

static bool stops_the_group(int signo)
{
    return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

static enum stop_kind decode_event(int event, int signo)
{
    switch (event) {
    case PTRACE_EVENT_STOP:
        return stops_the_group(signo) ? STOP_GROUP : STOP_TRAP;
    case PTRACE_EVENT_CLONE:
        return STOP_CLONE;
    case PTRACE_EVENT_FORK:
        return STOP_FORK;
    case PTRACE_EVENT_VFORK:
        return STOP_VFORK;
    case PTRACE_EVENT_VFORK_DONE:
        return STOP_VFORK_DONE;
    case PTRACE_EVENT_EXEC:
        return STOP_EXEC;
    case PTRACE_EVENT_EXIT:
        return STOP_EXIT;
    case PTRACE_EVENT_SECCOMP:
        return STOP_SECCOMP;
    default:
        return STOP_NONE;
    }
}

/* si_status of a stop is the wait status shifted: the signal, and the event above it. */
static void decode_trapped(int status, struct stop *s)
{
    int event = status >> 8;
    int signo = status & 0xff;

    if (event != 0)
        s->kind = decode_event(event, signo);
    else if (signo == (SIGTRAP | 0x80)) /* PTRACE_O_TRACESYSGOOD */
        s->kind = STOP_SYSCALL;
    else
        s->kind = STOP_SIGNAL_DELIVERY;

    if (s->kind == STOP_GROUP || s->kind == STOP_SIGNAL_DELIVERY)
        s->signo = signo;
}

void stop_decode(const siginfo_t *wait, struct stop *ret)
{
    struct stop s = {.kind = STOP_NONE};

    switch (wait->si_code) {
    case CLD_EXITED:
        s.kind = STOP_EXITED;
        s.status = wait->si_status;
        break;
    case CLD_KILLED:
    case CLD_DUMPED:
        s.kind = STOP_KILLED;
        s.signo = wait->si_status;
        s.core = wait->si_code == CLD_DUMPED;
        break;
    case CLD_TRAPPED:
    case CLD_STOPPED: /* group-stops of tracees, depending on the kernel */
        decode_trapped(wait->si_status, &s);
        break;
    default:
        break;
    }
    *ret = s;
}

enum stop_kind stop_classify_trap(const siginfo_t *info, bool stepped)
{
    switch (info->si_code) {
    case TRAP_TRACE:
    case TRAP_BRANCH:
    case STOP_CODE_HANDLER:
        return stepped ? STOP_STEP : STOP_SIGNAL_DELIVERY;
    case TRAP_HWBKPT:
        return STOP_HARDWARE;
    case TRAP_BRKPT:
#if defined(__x86_64__) || defined(__i386__)
        return stepped ? STOP_STEP : STOP_HARDWARE;
#else
        return STOP_BREAK;
#endif
    case SI_KERNEL:
        return STOP_BREAK;
    default:
        return STOP_SIGNAL_DELIVERY;
    }
}

void stop_decode_exit_code(unsigned long code, struct stop *ret)
{
    int status = (int)code;
    struct stop s = {.kind = STOP_EXITED};

    if (WIFSIGNALED(status)) {
        s.kind = STOP_KILLED;
        s.signo = WTERMSIG(status);
        s.core = WCOREDUMP(status);
    } else
        s.status = WEXITSTATUS(status);
    *ret = s;
}
