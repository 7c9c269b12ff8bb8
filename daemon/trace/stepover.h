/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>

#include "daemon/trace/stop.h"

struct trace;
struct tracee;

/* How a thread passes a breakpoint instruction on which it stands, without another thread slipping
 * by. In this order, see insn.h:
 *
 *  - its instruction is emulated: registers and memory are set, and it has passed;
 *  - a copy is executed elsewhere (space.h, scratches), while the breakpoint stays; its next stop,
 *    whatever it is, moves it back to where the original would have left it;
 *  - the text is restored and it steps in place, while all others stand.
 *
 * A signal that comes before the copy was executed waits for that: a handler would return to the
 * breakpoint, and it would be hit once more. Of a fault, which belongs to the instruction, and of
 * a second signal meanwhile, that return is known by the stack pointer. */

enum stepover {
    STEPOVER_NONE,  /* there is nothing to pass (any more) */
    STEPOVER_DONE,  /* it stands behind the instruction */
    STEPOVER_LEFT,  /* it runs, through a copy */
    STEPOVER_LATER, /* stepover_run_later() will do it: it has to stop others first */
};

/* A thread that stands and is about to be resumed: tracee->passing_at says where it is. */
enum stepover stepover_begin(struct trace *t, struct tracee *tracee);

/* Before a step: a pushf would store the trap flag that makes the step, and a popf bring it back as
 * if it were the program's own (arch/x86/kernel/step.c:is_setting_trap_flag()), which then traps
 * for ever. So these two are emulated. True: it was one, and the step is done. */
bool stepover_emulates_flags(struct trace *t, struct tracee *tracee);

/* A thread that went through a copy has stopped: moves it back. */
void stepover_finish(struct trace *t, struct tracee *tracee);

/* At a signal-delivery-stop after stepover_finish(): whether the signal is put off, so that the
 * thread is to be resumed without it, and as if nothing had come. */
bool stepover_puts_off(struct trace *t, struct tracee *tracee, const siginfo_t *info);

/* A signal is delivered to a thread that has still to pass its breakpoint: when its handler returns
 * it meets the breakpoint again, with the same stack pointer. */
void stepover_leave_for_handler(struct tracee *tracee);
/* Whether a hit is that one. */
bool stepover_is_return(struct tracee *tracee, uint64_t at, uint64_t sp);

/* At the end of a step: the signal that was put off, now in place of the step's own SIGTRAP. */
bool stepover_take_put_off(struct trace *t, struct tracee *tracee, siginfo_t *ret);

/* The thread is gone. */
void stepover_drop(struct trace *t, struct tracee *tracee);

/* Steps in place those who wait for it. Outside of any other waiting. */
void stepover_run_later(struct trace *t);
