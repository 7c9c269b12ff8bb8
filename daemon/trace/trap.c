/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/hardware.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/space.h"
#include "daemon/trace/stepover.h"
#include "daemon/trace/trap.h"

static bool is_in_range(const struct engine *e, uint64_t pc)
{
    return e->range_start <= pc && pc < e->range_end;
}

/* Whether an engine's step is over; inside its range it goes on. */
static bool is_done(const struct tracee *tracee, const struct engine *e)
{
    uint64_t pc;

    if (e->mode > RESUME_BLOCK_STEP)
        return false;
    if (e->range_start == e->range_end)
        return true;
    return regs_read_role(tracee->tid, ARCH_PC, &pc) < 0 || !is_in_range(e, pc);
}

void trap_on_step(struct trace *t, struct tracee *tracee)
{
    struct event e = {.kind = EVENT_STEP};

    for (struct engine *engine = tracee->engines; engine; engine = engine->next)
        if (is_done(tracee, engine))
            engine_tell(t, tracee, engine, &e, true);
}

/* What hit a breakpoint that is gone by now: the text there is no breakpoint instruction (any
 * more). Two bytes before the program counter, since x86 has a longer form, int $3. */
static bool is_phantom(struct process *p, uint64_t at)
{
    const struct space *s = p->space;
    uint8_t bytes[1 + LOCATION_SIZE_MAX];

    if (!s || memory_read_text(p, at - 1, bytes, 1U + s->size) != (ssize_t)(1U + s->size))
        return false;
    if (bytes[0] == 0xcd && bytes[1] == 0x03)
        return false;
    return memcmp(bytes + 1, s->instruction, s->size) != 0;
}

/* Rewound before anybody looks: from then on the thread stands before the instruction. */
static bool on_break(struct trace *t, struct tracee *tracee)
{
    struct regs regs = {0};
    const struct regs_set *general = &regs.sets[ARCH_GENERAL];
    uint64_t at, sp;

    if (!tracee->process || !tracee->process->space || regs_open(tracee->tid, &t->xsave, &regs) < 0)
        return false;
    at = arch_get_role(regs.arch, ARCH_PC, general->bytes) - regs.arch->breakpoint_behind;
    if (!space_find(tracee->process->space, at) && !is_phantom(tracee->process, at)) {
        regs_done(&regs);
        return false;
    }
    (void)regs_move(&regs, at);
    ledger_settle_trap(t->ledger);
    tracee->stop = STOP_BREAK;
    tracee->passing_at = at;
    sp = arch_get_role(regs.arch, ARCH_SP, general->bytes);
    if (!stepover_is_return(tracee, at, sp))
        breakpoint_on_hit(t, tracee, &regs, at);
    regs_done(&t->at_break);
    t->at_break = regs; /* stepover.c needs them next */
    return true;
}

/* icebp, the only instruction that raises a debug exception without a reason. Another one may end
 * with that byte; a hit of it whose reason got lost is taken for the program's own signal. */
static bool is_behind_icebp(struct process *p, uint64_t pc)
{
    uint8_t byte;

    return memory_read_text(p, pc - 1, &byte, 1) == 1 && byte == 0xf1;
}

/* False: it is the program's own; it never had a debug register of ours, or it trapped itself. */
static bool on_hardware(struct trace *t, struct tracee *tracee, bool reason_lost)
{
    struct process *p = tracee->process;
    struct regs regs = {0};
    uint32_t mask = 0;
    bool step;

    if (!p || p->hardware.generation == 0)
        return false;
    if (hardware_read_hits(tracee->tid, &mask, &step) < 0 || (mask == 0 && !reason_lost) ||
        regs_open(tracee->tid, &t->xsave, &regs) < 0)
        return true;
    if (mask == 0) {
        uint64_t pc = arch_get_role(regs.arch, ARCH_PC, regs.sets[ARCH_GENERAL].bytes);

        if (is_behind_icebp(p, pc)) {
            regs_done(&regs);
            return false;
        }
        mask = hardware_guess_hits(&p->hardware, tracee->tid, pc);
    }
    breakpoint_on_hardware(t, tracee, &regs, mask);
    regs_done(&regs);
    return true;
}

static bool is_raised_by_an_instruction(const siginfo_t *info)
{
    return info->si_signo == SIGTRAP && info->si_code > 0;
}

bool trap_is_pending(struct tracee *tracee)
{
    siginfo_t waiting[8];
    bool was_stepped = tracee->resumed <= RESUME_BLOCK_STEP;
    int n;

    if (!tracee->process ||
        (!tracee->process->space && !was_stepped && tracee->process->hardware.generation == 0))
        return false;
    n = ptrace_ops_peek_siginfo(tracee->tid, waiting, ARRAY_LENGTH(waiting));
    for (int i = 0; i < n; i++)
        if (is_raised_by_an_instruction(&waiting[i]))
            return true;
    return false;
}

bool trap_on_stop(struct trace *t, struct tracee *tracee, const siginfo_t *info)
{
    switch (stop_classify_trap(info, tracee->resumed <= RESUME_BLOCK_STEP)) {
    case STOP_STEP:
        tracee->stop = STOP_STEP;
        (void)on_hardware(t, tracee, false); /* a hit and a step are told as a step */
        ledger_settle_trap(t->ledger);
        trap_on_step(t, tracee);
        return true;
    case STOP_HARDWARE:
        if (!on_hardware(t, tracee, info->si_code == TRAP_BRKPT))
            return false;
        tracee->stop = STOP_HARDWARE;
        ledger_settle_trap(t->ledger);
        return true;
    case STOP_BREAK:
        return on_break(t, tracee);
    default:
        return false;
    }
}
