/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/trace/insn-x86.h"

/* What has to be known of one instruction so that a thread passes the breakpoint on it while the
 * others run. Pure functions on bytes, registers and addresses: who calls reads and writes the
 * tracee, and tries in this order
 *
 *   1. insn_decode() fails, or says INSN_IN_PLACE: stop the others, put the byte back, step.
 *   2. INSN_EMULATE: insn_load(), read that memory; insn_emulate(), write that memory, set the
 *      registers. Where a read or write is refused or insn_emulate() answers 0, nothing has
 *      changed: go on with 3.
 *   3. insn_displace(); write the copy, insn_enter(), set the registers, single-step; insn_leave(),
 *      write that memory, set the registers. Where insn_displace() answers 0: as in 1.
 *   4. INSN_SYSCALL: as 3, but resumed with PTRACE_SYSCALL, not stepped, and insn_leave() in the
 *      stop at the call's entry. Stepping it could wait for one of those who were stopped, a
 *      restart takes the program counter back by the instruction's length, and a child begins where
 *      its parent's registers say.
 *
 * What the processor would do beside it is the caller's to keep true: memory is read and written
 * with process_vm_readv() and process_vm_writev(), which heed page protection (/proc/PID/mem does
 * not), in one piece; what a debug register watches is not emulated; an si_addr in the copy is
 * the original's. On x86 the x87 environment remembers the copy's address for an instruction of the
 * x87. In an i386 tracee the segments have to be the kernel's flat ones (cs, ds, es, ss).
 *
 * Two are better emulated than stepped: pushf stores the trap flag of the step, and behind a
 * stepped popf Linux (seen with 6.18) takes the trap flag of the next step for the program's, which
 * a later continue then raises SIGTRAP for. */

enum insn_isa {
    INSN_I386, /* on x86_64 too: code segment 0x23 */
    INSN_X86_64,
};

/* Of the thread: its shadow stack is on (x86 ARCH_SHSTK_STATUS), so that a call must be made by the
 * processor and at its own address. */
#define INSN_SHADOW_STACK (1U << 0)

enum insn_class {
    INSN_IN_PLACE, /* where it stands, while the others stand */
    INSN_DISPLACE, /* may be executed elsewhere */
    INSN_EMULATE,  /* its whole effect can be computed; may be executed elsewhere too, mostly */
    INSN_SYSCALL,  /* enters the kernel: elsewhere, and not stepped over */
};

/* The longest instruction of any architecture here; insn_decode() never needs more bytes. */
#define INSN_LENGTH_MAX 15

/* One instruction. What is beside length and class belongs to the architecture. */
struct insn {
    enum insn_isa isa;
    enum insn_class class;
    uint8_t length; /* bytes, 1 to INSN_LENGTH_MAX */
    struct insn_x86 x86;
};

/* A thread's registers. x86: in the order of the encoding, rax rcx rdx rbx rsp rbp rsi rdi r8-r15;
 * in i386 the upper halves are 0 and so are r8-r15. */
struct insn_cpu {
    uint64_t regs[32];
    uint64_t ip;
    uint64_t flags;
    uint64_t fs_base, gs_base;
};

/* A piece of the tracee's memory. */
struct insn_memory {
    uint64_t address;
    uint64_t value; /* little endian */
    uint8_t size;   /* bytes, 0 to 8; 0: none */
};

enum insn_fix {
    INSN_FIX_RELATIVE,      /* the program counter is as far off as the copy */
    INSN_FIX_ABSOLUTE,      /* it is right, unless the instruction was not executed */
    INSN_FIX_CALL_RELATIVE, /* as the above, and a return address was pushed */
    INSN_FIX_CALL_ABSOLUTE,
    INSN_FIX_SYSCALL, /* as the first, and rcx has the return address */
};

/* An instruction to be executed at another address. */
struct insn_copy {
    uint64_t from, to; /* addresses */
    uint64_t saved;    /* the scratch register, from insn_enter() on */
    enum insn_fix fix;
    enum insn_isa isa;
    int8_t scratch; /* index of the register that points at the original's memory; -1: none */
    uint8_t length; /* bytes */
    uint8_t bytes[INSN_LENGTH_MAX];
};

/* Decodes the instruction at the start of bytes; n: how many may be read (INSN_LENGTH_MAX is always
 * enough). The bytes are the program's, breakpoints masked. -EILSEQ: no instruction that is known
 * here, -ENODATA: it does not end within n bytes. */
int insn_decode(const uint8_t *bytes, size_t n, enum insn_isa isa, unsigned flags,
                struct insn *ret);

/* Which memory insn_emulate() has to know; ret->size 0: none. The value is the caller's to read.
 * 0: not emulated with these registers (see below), and *ret is not written; 1 otherwise. */
int insn_load(const struct insn *i, const struct insn_cpu *cpu, struct insn_memory *ret);

/* Does in *cpu what the processor would do, program counter and every flag included, and tells
 * which memory it would write (ret_store->size 0: none). load: what insn_load() asked for, with its
 * value. 0: not emulated, and nothing is written: another class, the program's own trap flag or
 * alignment check is on, or a jump out of the address space. 1 otherwise. */
int insn_emulate(const struct insn *i, struct insn_cpu *cpu, const struct insn_memory *load,
                 struct insn_memory *ret_store);

/* The copy that does at `to` what the instruction, with these bytes (i->length of them), does at
 * `from`. 0: there is none; 1: written to *ret. */
int insn_displace(const struct insn *i, const uint8_t *bytes, uint64_t from, uint64_t to,
                  struct insn_copy *ret);

/* Moves a thread from the original to the copy. */
void insn_enter(struct insn_copy *c, struct insn_cpu *cpu);

/* Moves it back, wherever it stopped, and tells which memory is to be corrected (ret_store->size 0:
 * none). 0: the instruction was not executed (a fault, a signal came first) or stands in the
 * middle (a repeated one): the program counter is that of the original. 1: it was executed.
 * A call that faulted behind its push (an impossible target) leaves the copy's return address below
 * the stack pointer. */
int insn_leave(const struct insn_copy *c, struct insn_cpu *cpu, struct insn_memory *ret_store);
