/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>

/* What a wait reported, decoded without a further system call. Each kind says what the tracer owes
 * the thread when nobody holds it; see ptrace(2), "Stopped states". */
enum stop_kind {
    STOP_NONE,  /* nothing that a tracer is told of */
    STOP_TRAP,  /* PTRACE_EVENT_STOP with SIGTRAP: an interrupt, a new thread's first stop,
                   or a group-stop's end. CONT */
    STOP_GROUP, /* PTRACE_EVENT_STOP with a stopping signal: group-stop. LISTEN */
    STOP_SIGNAL_DELIVERY, /* signal-delivery-stop. CONT with the signal */
    STOP_SYSCALL,         /* syscall-enter- or -exit-stop. CONT */
    STOP_CLONE,           /* PTRACE_EVENT_*: CONT */
    STOP_FORK,
    STOP_VFORK,
    STOP_VFORK_DONE,
    STOP_EXEC,
    STOP_EXIT,    /* about to end, still inspectable. CONT */
    STOP_SECCOMP, /* its filter's verdict waits for us. CONT executes the call */
    /* A signal-delivery-stop for SIGTRAP that is none of the program's, see stop_classify_trap():
       CONT without the signal */
    STOP_STEP,
    STOP_BREAK,    /* a breakpoint instruction, ours or the program's own */
    STOP_HARDWARE, /* a debug register */
    STOP_EXITED,   /* gone, nothing is owed */
    STOP_KILLED,   /* gone by a signal */
};

struct stop {
    enum stop_kind kind;
    int signo;  /* SIGNAL_DELIVERY, GROUP: the signal; KILLED: what ended it */
    int status; /* EXITED: the exit status */
    bool core;  /* KILLED: a core was dumped */
};

/* From what waitid(2) wrote. Pure. */
void stop_decode(const siginfo_t *wait, struct stop *ret);

/* A step ended in a signal's handler, before its first instruction: a stop without a signal, in
 * which the kernel takes none either (kernel/signal.c:signal_setup_done() calls
 * ptrace_notify(SIGTRAP)). */
#define STOP_CODE_HANDLER SIGTRAP

/* What a signal-delivery-stop for SIGTRAP is, by its siginfo: STOP_STEP, STOP_BREAK, STOP_HARDWARE,
 * or STOP_SIGNAL_DELIVERY where a process sent it or the program traps itself. `stepped`: we
 * resumed the thread by a step. Pure.
 *
 * x86 tells a step by TRAP_TRACE, one over a system call by TRAP_BRKPT (user_single_step_report()),
 * and int3 by SI_KERNEL; aarch64 tells its brk by TRAP_BRKPT. Where a step and a debug register
 * come together, it is told as a step (arch/x86/kernel/traps.c:get_si_code()). Any other TRAP_BRKPT
 * of x86 is a debug exception without a reason, the program's own icebp or a hit whose reason got
 * lost (hardware_guess_hits()): STOP_HARDWARE, for who knows the program to judge. */
enum stop_kind stop_classify_trap(const siginfo_t *info, bool stepped);

/* From the exit code that PTRACE_EVENT_EXIT's message holds (a wait(2) status): EXITED or KILLED.
 */
void stop_decode_exit_code(unsigned long code, struct stop *ret);

/* Whether the thread is gone. */
static inline bool stop_is_end(enum stop_kind kind)
{
    return kind == STOP_EXITED || kind == STOP_KILLED;
}
