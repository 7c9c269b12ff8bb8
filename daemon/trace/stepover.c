/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "daemon/trace/freeze.h"
#include "daemon/trace/insn-cpu.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/space.h"
#include "daemon/trace/stepover.h"
#include "daemon/trace/trace.h"

/* A thread on its way through a copy. */
struct displaced {
    struct insn_copy copy;
    unsigned scratch;
    uint64_t at; /* the breakpoint */
};

/* One attempt. */
struct attempt {
    struct tracee *tracee;
    struct process *process;
    struct regs regs;
    struct insn_cpu cpu;
    struct insn insn;
    uint8_t bytes[INSN_LENGTH_MAX];
    uint64_t at;
};

static uint8_t *general_of(struct attempt *a)
{
    return a->regs.sets[ARCH_GENERAL].bytes;
}

static int set_registers(struct attempt *a)
{
    const struct regs_set *set = &a->regs.sets[ARCH_GENERAL];

    insn_cpu_store(a->regs.arch, &a->cpu, general_of(a));
    return ptrace_ops_set_regset(a->tracee->tid, NT_PRSTATUS, set->bytes, set->size);
}

/* By the program's own rights to its pages, and whole or not at all. */
static bool transfer(pid_t pid, struct insn_memory *m, bool write)
{
    struct iovec local = {&m->value, m->size}, remote = {(void *)(uintptr_t)m->address, m->size};
    ssize_t n;

    if (m->size == 0)
        return true;
    n = write ? process_vm_writev(pid, &local, 1, &remote, 1, 0)
              : process_vm_readv(pid, &local, 1, &remote, 1, 0);
    return n == (ssize_t)m->size;
}

static bool emulate(struct attempt *a)
{
    struct insn_memory load = {0}, store = {0};
    struct insn_cpu cpu = a->cpu;
    pid_t tid = a->tracee->tid;

    if (a->insn.class != INSN_EMULATE || !insn_load(&a->insn, &a->cpu, &load))
        return false;
    if (!transfer(tid, &load, false) || !insn_emulate(&a->insn, &cpu, &load, &store))
        return false;
    /* What the processor watches, it has to do itself. */
    if (a->process->hardware.generation != 0 && (load.size > 0 || store.size > 0))
        return false;
    if (!transfer(tid, &store, true))
        return false;
    a->cpu = cpu;
    return set_registers(a) >= 0;
}

static bool displace(struct trace *t, struct attempt *a)
{
    struct tracee *tracee = a->tracee;
    struct displaced *d = malloc(sizeof(*d));
    uint64_t to = 0;
    int r = d ? space_take_scratch(a->process, &to) : -ENOMEM;

    if (r < 0) {
        free(d);
        return false;
    }
    d->scratch = (unsigned)r;
    d->at = a->at;
    if (!insn_displace(&a->insn, a->bytes, a->at, to, &d->copy) ||
        space_write_scratch(a->process, d->scratch, d->copy.bytes, d->copy.length) < 0) {
        space_return_scratch(a->process, d->scratch);
        free(d);
        return false;
    }
    insn_enter(&d->copy, &a->cpu);
    ledger_set_copy(t->ledger, a->process->space->scratches[d->scratch].ledger_slot, tracee->tid,
                    &d->copy);
    tracee->displaced = d;
    (void)set_registers(a); /* -ESRCH: killed, as below */
    tracee->resumed = a->insn.class == INSN_SYSCALL ? RESUME_SYSCALL : RESUME_STEP;
    if (a->insn.class == INSN_SYSCALL)
        (void)ptrace_ops_syscall(tracee->tid, 0);
    else
        (void)ptrace_ops_step(tracee->tid, 0);
    tracee_apply(tracee, TRACEE_CONT);
    return true;
}

/* Within the turn of its hit nobody but us can have changed them. */
static int open_registers(struct trace *t, pid_t tid, struct regs *ret)
{
    if (t->at_break.tid != tid)
        return regs_open(tid, &t->xsave, ret);
    *ret = t->at_break;
    t->at_break = (struct regs){0};
    return 0;
}

/* The registers of a thread that still stands at the breakpoint, and its instruction. */
static int look(struct trace *t, struct tracee *tracee, uint64_t at, struct attempt *a)
{
    struct space *s = tracee->process->space; /* NULL where flags are stepped over */
    enum insn_isa isa;
    ssize_t n;
    int r;

    *a = (struct attempt){.tracee = tracee, .process = tracee->process, .at = at};
    r = open_registers(t, tracee->tid, &a->regs);
    if (r < 0)
        return r;
    if (arch_get_role(a->regs.arch, ARCH_PC, general_of(a)) != at)
        return -ENOENT; /* it was sent elsewhere */
    if (arch_will_restart(a->regs.arch, general_of(a)))
        return -ENOENT; /* it will be sent back to its system call */
    r = insn_cpu_load(a->regs.arch, general_of(a), &a->cpu, &isa);
    if (r < 0) {
        a->insn.class = INSN_IN_PLACE;
        return 0;
    }
    n = memory_read(a->process, at, a->bytes, sizeof(a->bytes));
    if (n <= 0)
        return -ENOENT;
    if (insn_decode(a->bytes, (size_t)n, isa,
                    s && space_has_shadow_stack(s, tracee->tid) ? INSN_SHADOW_STACK : 0,
                    &a->insn) < 0)
        a->insn.class = INSN_IN_PLACE;
    return 0;
}

static bool is_programs_own(const struct space *s, const struct location *l)
{
    return memcmp(l->original, s->instruction, s->size) == 0;
}

/* The program's own breakpoint instruction lies below ours: it gets its SIGTRAP, behind it. */
static enum stepover trap_for_program(struct attempt *a)
{
    arch_put_role(a->regs.arch, ARCH_PC, general_of(a), a->at + a->regs.arch->breakpoint_behind);
    (void)ptrace_ops_set_regset(a->tracee->tid, NT_PRSTATUS, general_of(a),
                                a->regs.sets[ARCH_GENERAL].size);
    if (a->tracee->stop == STOP_BREAK)
        a->tracee->resume_signo = SIGTRAP;
    return STEPOVER_NONE;
}

static enum stepover pass(struct trace *t, struct attempt *a)
{
    const struct space *s = a->process->space;

    if (is_programs_own(s, space_find(s, a->at)))
        return trap_for_program(a);
    if (emulate(a))
        return STEPOVER_DONE;
    if (a->insn.class != INSN_IN_PLACE && displace(t, a))
        return STEPOVER_LEFT;
    a->tracee->passing_at = a->at;
    a->tracee->steps_in_place = true;
    t->steps_in_place = true;
    return STEPOVER_LATER;
}

/* Inside of a system call the program counter stands behind it already, and what it returns is
 * still to be written: the instruction there is not the next to be executed. The thread meets its
 * breakpoint when it comes back. */
static bool is_inside_call(const struct tracee *tracee)
{
    switch ((enum stop_kind)tracee->stop) {
    case STOP_SYSCALL:
        return tracee->call_is_known; /* at its entry; calls.c forgets it at the exit */
    case STOP_SECCOMP:
    case STOP_CLONE:
    case STOP_FORK:
    case STOP_VFORK:
    case STOP_VFORK_DONE:
    case STOP_EXEC:
    case STOP_EXIT:
        return true;
    case STOP_NONE:
    case STOP_TRAP:
    case STOP_GROUP:
    case STOP_SIGNAL_DELIVERY:
    case STOP_STEP:
    case STOP_BREAK:
    case STOP_HARDWARE:
    case STOP_EXITED:
    case STOP_KILLED:
        break;
    }
    return false;
}

enum stepover stepover_begin(struct trace *t, struct tracee *tracee)
{
    uint64_t at = tracee->passing_at;
    enum stepover result = STEPOVER_NONE;
    struct attempt a = {0};

    if (tracee->steps_in_place)
        return STEPOVER_LATER;
    tracee->passing_at = 0;
    if (at == 0 || is_inside_call(tracee) || !tracee->process ||
        !space_find(tracee->process->space, at))
        return STEPOVER_NONE;
    if (look(t, tracee, at, &a) >= 0)
        result = pass(t, &a);
    regs_done(&a.regs);
    return result;
}

static bool is_at_flags(struct tracee *tracee, uint64_t *ret_pc)
{
    const uint8_t operand_size = 0x66, pushf = 0x9c, popf = 0x9d;
    uint8_t bytes[2] = {0};
    const uint8_t *p = bytes;

    if (!tracee->process || regs_read_role(tracee->tid, ARCH_PC, ret_pc) < 0 ||
        memory_read(tracee->process, *ret_pc, bytes, sizeof(bytes)) <= 0)
        return false;
    if (*p == operand_size)
        p++;
    return *p == pushf || *p == popf;
}

bool stepover_emulates_flags(struct trace *t, struct tracee *tracee)
{
    struct attempt a = {0};
    bool done = false;
    uint64_t pc;

#if !defined(__x86_64__) && !defined(__i386__)
    return false;
#endif
    if (!is_inside_call(tracee) && is_at_flags(tracee, &pc) && look(t, tracee, pc, &a) >= 0)
        done = emulate(&a);
    regs_done(&a.regs);
    return done;
}

void stepover_finish(struct trace *t, struct tracee *tracee)
{
    struct displaced *d = tracee->displaced;
    struct attempt a = {.tracee = tracee, .process = tracee->process};
    struct insn_memory store = {0};
    enum insn_isa isa;

    if (regs_open(tracee->tid, &t->xsave, &a.regs) >= 0 &&
        insn_cpu_load(a.regs.arch, general_of(&a), &a.cpu, &isa) >= 0) {
        if (!insn_leave(&d->copy, &a.cpu, &store))
            tracee->passing_at = d->at;
        (void)transfer(tracee->tid, &store, true);
        (void)set_registers(&a);
    }
    regs_done(&a.regs);
    ledger_settle_trap(t->ledger);
    stepover_drop(t, tracee);
}

void stepover_drop(struct trace *t, struct tracee *tracee)
{
    if (!t->leaving && tracee->displaced && tracee->process && tracee->process->space)
        space_return_scratch(tracee->process, tracee->displaced->scratch);
    free(tracee->displaced);
    tracee->displaced = NULL;
}

/* ---- Signals on the way -------------------------------------------------------------------- */

/* What an instruction raises belongs to the instruction; what comes from elsewhere can wait. */
static bool is_asynchronous(const siginfo_t *info)
{
    switch (info->si_signo) {
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGTRAP:
        return info->si_code <= 0;
    default:
        return true;
    }
}

bool stepover_puts_off(struct trace *t, struct tracee *tracee, const siginfo_t *info)
{
    if (tracee->passing_at == 0 || tracee->put_off || !is_asynchronous(info))
        return false;
    tracee->put_off = malloc(sizeof(*tracee->put_off));
    if (!tracee->put_off)
        return false;
    *tracee->put_off = *info;
    tracee->put_off_slot =
        ledger_record_signal(t->ledger, tracee->process->pidref.pid, tracee->tid, info);
    if (tracee->put_off_slot >= 0)
        ledger_mark_put_off(t->ledger, tracee->put_off_slot);
    return true;
}

void stepover_leave_for_handler(struct tracee *tracee)
{
    if (regs_read_role(tracee->tid, ARCH_SP, &tracee->again_sp) >= 0)
        tracee->again_at = tracee->passing_at;
    tracee->passing_at = 0;
}

bool stepover_is_return(struct tracee *tracee, uint64_t at, uint64_t sp)
{
    bool is_return = tracee->again_at == at && at != 0 && tracee->again_sp == sp;

    if (is_return)
        tracee->again_at = 0;
    return is_return;
}

bool stepover_take_put_off(struct trace *t, struct tracee *tracee, siginfo_t *ret)
{
    bool taken;

    if (!tracee->put_off)
        return false;
    taken = ptrace_ops_set_siginfo(tracee->tid, tracee->put_off) >= 0;
    *ret = *tracee->put_off;
    if (tracee->put_off_slot >= 0)
        ledger_clear_signal(t->ledger, tracee->put_off_slot);
    free(tracee->put_off);
    tracee->put_off = NULL;
    return taken;
}

/* ---- In place ------------------------------------------------------------------------------ */

static struct tracee *find_waiting(struct trace *t)
{
    struct process *p;
    struct tracee *tracee;

    TAILQ_FOREACH(p, &t->processes, processes)
        TAILQ_FOREACH(tracee, &p->tracees, siblings)
            if (tracee->steps_in_place)
                return tracee;
    return NULL;
}

static bool still_waits(struct trace *t, pid_t tid, uint64_t at)
{
    const struct tracee *tracee = tidmap_get(&t->tids, tid);

    return tracee && tracee->state == TRACEE_STOPPED && tracee->passing_at == at;
}

/* The step cannot take long, but for a processor to be free; and if something came before it, the
 * breakpoint is still to be passed. */
static void finish_in_place(struct trace *t, struct freeze *f, pid_t tid, uint64_t at)
{
    const unsigned ticks_max = 50; /* a second */
    struct tracee *tracee;
    uint64_t pc;

    for (unsigned i = 0; i < ticks_max && !batch_collect_next(&f->batch, tid); i++)
        ;
    tracee = tidmap_get(&t->tids, tid);
    if (tracee && tracee->state == TRACEE_STOPPED && regs_read_role(tid, ARCH_PC, &pc) >= 0 &&
        pc == at)
        tracee->passing_at = at;
}

static void step_in_place(struct trace *t, struct tracee *tracee)
{
    struct process *p = tracee->process;
    uint64_t at = tracee->passing_at;
    pid_t tid = tracee->tid;
    struct freeze f;

    tracee->steps_in_place = false;
    freeze_begin(&f, t, p);
    if (still_waits(t, tid, at) && !engine_is_any_holding(tracee) &&
        space_suspend(p->space, p, at)) {
        tracee->passing_at = 0;
        tracee->resumed = RESUME_STEP;
        (void)ptrace_ops_step(tid, 0);
        tracee_apply(tracee, TRACEE_CONT);
        finish_in_place(t, &f, tid, at);
        space_resume(p->space, p, at);
    }
    freeze_end(&f);
}

void stepover_run_later(struct trace *t)
{
    struct tracee *tracee;

    while (t->steps_in_place) {
        tracee = find_waiting(t);
        if (tracee)
            step_in_place(t, tracee);
        else
            t->steps_in_place = false;
    }
}
