/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include "daemon/trace/insn.h"
#include "tests/unit/random.h"

/* A child whose processor is asked what an instruction does: a page of code, a page of data that
 * both see, and another page of code far away for copies. */

#define MACHINE_CODE UINT64_C(0x20000000)
#define MACHINE_DATA UINT64_C(0x30000000)
#define MACHINE_PAGE 4096U
#define MACHINE_XSTATE 16384U

struct machine {
    pid_t pid; /* stopped, traced by the test */
    enum insn_isa isa;
    struct user_regs_struct regs; /* as they were at the first stop */
    uint8_t xstate[MACHINE_XSTATE];
    size_t xstate_size; /* bytes */
};

/* What the processor knows beside memory. */
struct machine_state {
    struct insn_cpu cpu;
    uint8_t xstate[MACHINE_XSTATE]; /* only written by machine_step_all() */
};

/* For cmocka: puts a machine into *state, and takes it away again. */
int machine_start(enum insn_isa isa, void **state);
int machine_stop(void **state);

static inline uint64_t machine_copy(enum insn_isa isa)
{
    return isa == INSN_I386 ? 0x50000000 : 0x700000000000;
}

static inline uint8_t *machine_at(uint64_t address)
{
    return (uint8_t *)(uintptr_t)address; /* mapped here, too */
}

/* Whether all of it is in the page of data. */
bool machine_has(const struct insn_memory *mem);
uint64_t machine_load(const struct insn_memory *mem);
void machine_store(const struct insn_memory *mem);

void machine_write_code(uint64_t address, const uint8_t *bytes, size_t n);

/* One step from these registers. Returns the signal that ended it, SIGTRAP where all is well. */
int machine_step(struct machine *m, struct insn_cpu *cpu);
/* To the int3 behind the instruction. A step over pushf or popf shows in the flags: the one pushes
 * the step's own trap flag; after the other Linux (6.18) takes that of the next step for the
 * program's. */
int machine_run(struct machine *m, struct insn_cpu *cpu);
/* As a step, and vector registers are those of the start before, and given back. */
int machine_step_all(struct machine *m, struct machine_state *state);
/* Lets it run to the next stop of PTRACE_SYSCALL. */
int machine_syscall(struct machine *m, struct insn_cpu *cpu);
/* From the stop at the entry of a call to that at its end. */
int machine_finish_syscall(struct machine *m, struct insn_cpu *cpu, long number);

uint64_t random_64(struct random *r);
/* Registers of which many point into the data, and data of which many are addresses. */
void machine_random(const struct machine *m, struct random *r, struct insn_cpu *ret);
/* Random bytes with the prefixes and opcodes that instructions have, memory operands within reach.
 * Returns whether there is an instruction. */
bool machine_random_insn(const struct machine *m, struct random *r, uint8_t *bytes,
                         struct insn *ret);
