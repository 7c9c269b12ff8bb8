/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "daemon/trace/chaperone.h"
#include "daemon/trace/hardware.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/stepover.h"
#include "daemon/trace/trap.h"
#include "daemon/trace/wait.h"

#define OPTIONS                                                                                    \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |      \
     PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXEC)

/* Without the option, what SECCOMP_RET_TRACE names fails with ENOSYS; with it, it is executed after
 * the stop. So it is set for those alone who ask, and for nobody who may not change a process. */
static bool asks_for_seccomp(const struct attachment *a)
{
    return !a->observe && filter_asks_for_seccomp(a->filter);
}

unsigned long resume_options(const struct attachment *a)
{
    return OPTIONS | PTRACE_O_TRACEEXIT |
           (a && asks_for_seccomp(a) ? (unsigned long)PTRACE_O_TRACESECCOMP : 0);
}

static bool anyone_asks_for_seccomp(const struct tracee *tracee)
{
    for (const struct engine *e = tracee->engines; e; e = e->next)
        if (asks_for_seccomp(e->attachment))
            return true;
    return false;
}

static bool asks_for_exit(const struct filter *f)
{
    return !f->quiet_exit && ((f->report | f->stops) & EVENT_BIT(EVENT_EXIT)) != 0;
}

/* A stop before each end costs a fifth of a short thread's life, so threads make it for those alone
 * who ask. A leader always does: it may end long before its end is reported, and no wait for it
 * would return until then. */
static bool has_to_stop_at_exit(const struct tracee *tracee)
{
    if (!tracee->process || tracee->tid == tracee->process->pidref.pid)
        return true;
    for (const struct engine *e = tracee->engines; e; e = e->next)
        if (asks_for_exit(e->attachment->filter))
            return true;
    return false;
}

/* One that is about to end has no use for any. */
static void update_options(struct tracee *tracee)
{
    bool seccomp = anyone_asks_for_seccomp(tracee), at_exit = has_to_stop_at_exit(tracee);
    unsigned long options = OPTIONS | (seccomp ? PTRACE_O_TRACESECCOMP : 0) |
                            (at_exit ? (unsigned long)PTRACE_O_TRACEEXIT : 0);

    if (tracee->stop == STOP_EXIT ||
        (tracee->options_known && seccomp == tracee->asks_for_seccomp &&
         at_exit == tracee->stops_at_exit))
        return;
    if (ptrace_ops_set_options(tracee->tid, options) < 0)
        return;
    tracee->asks_for_seccomp = seccomp;
    tracee->stops_at_exit = at_exit;
    tracee->options_known = true;
}

void resume_inherit_options(struct tracee *tracee, const struct tracee *from)
{
    tracee->asks_for_seccomp = from->asks_for_seccomp;
    tracee->stops_at_exit = from->stops_at_exit;
    tracee->options_known = from->options_known;
}

static enum resume_mode mode_of(const struct engine *e)
{
    const struct filter *f = e->attachment->filter;

    if (e->mode > RESUME_SYSCALL && ((f->report | f->stops) & EVENT_CALLS))
        return RESUME_SYSCALL;
    return e->mode;
}

enum resume_mode resume_wanted_mode(const struct tracee *tracee)
{
    enum resume_mode mode = RESUME_RUN;

    for (const struct engine *e = tracee->engines; e; e = e->next)
        if (mode_of(e) < mode)
            mode = mode_of(e);
    return mode;
}

/* Debug registers are set in threads that a session traces. */
static bool has_stale_registers(const struct tracee *tracee)
{
    return tracee->process && tracee->engines &&
           tracee->hardware_known != tracee->process->hardware.generation;
}

void resume_kick(struct tracee *tracee)
{
    if (tracee->state != TRACEE_RUNNING)
        return; /* it has a stop before it, or stands in one */
    if (resume_wanted_mode(tracee) >= tracee->resumed && !has_stale_registers(tracee) &&
        anyone_asks_for_seccomp(tracee) == tracee->asks_for_seccomp &&
        (tracee->stops_at_exit || !has_to_stop_at_exit(tracee)))
        return;
    if (ptrace_ops_interrupt(tracee->tid) >= 0)
        tracee_apply(tracee, TRACEE_INTERRUPT);
}

/* The signal, if any, has been handed back to the kernel. */
static void signal_is_passed_on(struct trace *t, struct tracee *tracee)
{
    if (tracee->ledger_slot >= 0)
        ledger_clear_signal(t->ledger, tracee->ledger_slot);
    tracee->ledger_slot = -1;
    tracee->resume_signo = 0;
    tracee->suppressed = false;
}

/* What the thread stands at, as its sessions judged it. */
static int signal_to_deliver(const struct tracee *tracee)
{
    return tracee->suppressed ? 0 : tracee->resume_signo;
}

/* Where the machine cannot step to a branch, a block is one instruction. */
static int step_block(const struct tracee *tracee)
{
    int r = ptrace_ops_block_step(tracee->tid, signal_to_deliver(tracee));

    return r == -EIO ? ptrace_ops_step(tracee->tid, signal_to_deliver(tracee)) : r;
}

static int resume_in_mode(const struct tracee *tracee, enum resume_mode mode)
{
    switch (mode) {
    case RESUME_STEP:
        return ptrace_ops_step(tracee->tid, signal_to_deliver(tracee));
    case RESUME_BLOCK_STEP:
        return step_block(tracee);
    case RESUME_SYSCALL:
        return ptrace_ops_syscall(tracee->tid, signal_to_deliver(tracee));
    case RESUME_RUN:
    case RESUME_MODE_MAX:
        break;
    }
    return ptrace_ops_cont(tracee->tid, signal_to_deliver(tracee));
}

static bool anyone_hears_calls(const struct tracee *tracee)
{
    for (const struct engine *e = tracee->engines; e; e = e->next)
        if (e->mode == RESUME_SYSCALL ||
            ((e->attachment->filter->report | e->attachment->filter->stops) & EVENT_CALLS))
            return true;
    return false;
}

/* syscall, sysenter, int $0x80; svc. */
static bool stands_at_call(const struct tracee *tracee)
{
#if defined(__x86_64__) || defined(__i386__)
    static const uint8_t calls[][2] = {{0x0f, 0x05}, {0x0f, 0x34}, {0xcd, 0x80}};
#else
    static const uint8_t calls[][2] = {{0x01, 0x00}};
#endif
    uint8_t bytes[2];
    uint64_t pc;

    if (!tracee->process || regs_read_role(tracee->tid, ARCH_PC, &pc) < 0 ||
        memory_read(tracee->process, pc, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
        return false;
    for (size_t i = 0; i < ARRAY_LENGTH(calls); i++)
        if (memcmp(bytes, calls[i], sizeof(bytes)) == 0)
            return true;
    return false;
}

/* A step over a system call passes both its ends in one go. Where another session hears calls, it
 * is made as a call, and its end is the end of the step. */
static enum resume_mode choose_mode(struct tracee *tracee)
{
    enum resume_mode mode = resume_wanted_mode(tracee);

    if (mode <= RESUME_BLOCK_STEP && anyone_hears_calls(tracee) && !tracee->steps_over_call)
        tracee->steps_over_call = stands_at_call(tracee);
    return tracee->steps_over_call ? RESUME_SYSCALL : mode;
}

/* True: it is not to be resumed here and now. */
static bool pass_breakpoint(struct trace *t, struct tracee *tracee)
{
    if (tracee->passing_at != 0 && signal_to_deliver(tracee) != 0)
        stepover_leave_for_handler(tracee);
    if (tracee->passing_at == 0)
        return false;
    switch (stepover_begin(t, tracee)) {
    case STEPOVER_NONE:
        return false;
    case STEPOVER_DONE: /* which was a step */
        trap_on_step(t, tracee);
        return engine_is_any_holding(tracee);
    case STEPOVER_LEFT:
        signal_is_passed_on(t, tracee);
        return true;
    case STEPOVER_LATER:
        return true;
    }
    return false;
}

/* True: it has done a step by that, and is held. */
static bool step_over_flags(struct trace *t, struct tracee *tracee)
{
    while (resume_wanted_mode(tracee) <= RESUME_BLOCK_STEP && signal_to_deliver(tracee) == 0 &&
           stepover_emulates_flags(t, tracee)) {
        trap_on_step(t, tracee);
        if (engine_is_any_holding(tracee))
            return true;
    }
    return false;
}

/* -ESRCH from the requests below means killed while it stood: then it is on its way to its end,
 * which a wait will report, and counts as running. */
static void resume(struct trace *t, struct tracee *tracee)
{
    siginfo_t report;

    /* Killed while it was held, it stands in its exit stop by now. */
    if (tracee->is_kept && wait_thread(tracee->tid, WNOHANG | WNOWAIT, &report) > 0) {
        trace_dispatch(t, &report);
        return;
    }
    if (tracee->stop == STOP_GROUP && ptrace_ops_listen(tracee->tid) >= 0) {
        tracee_apply(tracee, TRACEE_LISTEN);
        return;
    }
    if (pass_breakpoint(t, tracee) || step_over_flags(t, tracee))
        return;
    update_options(tracee);
    if (has_stale_registers(tracee))
        (void)hardware_sync(&tracee->process->hardware, tracee->tid, &tracee->hardware_known);
    if (tracee->owes_group_stop) { /* the kernel traps it at once, in its group-stop */
        tracee->owes_group_stop = false;
        (void)ptrace_ops_interrupt(tracee->tid);
    }
    tracee->resumed = (uint8_t)choose_mode(tracee);
    if (tracee->resumed <= RESUME_BLOCK_STEP && tracee->process)
        (void)process_guard(t, tracee->process); /* where the ledger is full, without */
    (void)resume_in_mode(tracee, tracee->resumed);
    signal_is_passed_on(t, tracee);
    tracee_apply(tracee, TRACEE_CONT);
}

static void detach_standing(struct trace *t, struct tracee *tracee)
{
    struct process *p = tracee->process;

    if (tracee->hardware_known != 0) /* they outlive a detach */
        (void)hardware_clear(tracee->tid, &tracee->hardware_known);
    if (ptrace_ops_detach(tracee->tid, signal_to_deliver(tracee)) < 0) {
        signal_is_passed_on(t, tracee);
        tracee_apply(tracee, TRACEE_CONT);
        return;
    }
    process_remove_tracee(t, tracee);
    if (p)
        process_collect(t, p);
}

void resume_settle(struct trace *t, struct tracee *tracee)
{
    if (tracee->state != TRACEE_STOPPED)
        return;
    if (!tracee->process && !tracee->unwanted) /* whose it is will be told */
        return;
    if (process_stands(tracee->process))
        return;
    if (!tracee->engines && !chaperone_is_needed(tracee))
        detach_standing(t, tracee);
    else if (!engine_is_any_holding(tracee))
        resume(t, tracee);
}

void resume_release(struct trace *t, struct tracee *tracee)
{
    switch ((enum tracee_state)tracee->state) {
    case TRACEE_STOPPED:
        resume_settle(t, tracee);
        break;
    case TRACEE_RUNNING:
    case TRACEE_LISTENING:
        if (!chaperone_is_needed(tracee) && ptrace_ops_interrupt(tracee->tid) >= 0)
            tracee_apply(tracee, TRACEE_INTERRUPT);
        break;
    case TRACEE_NEW:
    case TRACEE_STOPPING: /* its stop is coming */
    case TRACEE_EXITING:
    case TRACEE_GONE:
    case TRACEE_STATE_MAX:
        break;
    }
}
