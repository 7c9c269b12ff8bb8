/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The x86 half of struct insn, which the files insn-x86*.c share. Nobody else looks inside.
 * Order: decode (lengths and fields, insn-x86-decode.c, by the tables of insn-x86-tables.c), plan
 * (what it would mean to emulate it, insn-x86-plan.c), class (insn-x86.c). */

struct insn;
struct insn_cpu;
struct insn_memory;

/* Opcode maps. Those of VEX, EVEX and XOP have numbers of their own: their opcodes mean others. */
enum x86_map {
    X86_MAP_ONE,  /* no escape */
    X86_MAP_0F,   /* 0f */
    X86_MAP_0F38, /* 0f 38 */
    X86_MAP_0F3A, /* 0f 3a */
    X86_MAP_VEX,  /* of any kind */
};

enum x86_operand_kind {
    X86_NONE,
    X86_REG,
    X86_MEM, /* what ModRM says */
    X86_IMM,
};

struct x86_operand {
    enum x86_operand_kind kind;
    uint8_t reg;
};

/* What is emulated. Those through the stack, and then those that go elsewhere, are the last. */
enum x86_op {
    X86_OP_NONE, /* this one is not */
    X86_OP_NOP,
    X86_OP_ALU, /* variant: X86_ALU_... */
    X86_OP_TEST,
    X86_OP_MOV,
    X86_OP_MOVZX,
    X86_OP_MOVSX,
    X86_OP_LEA,
    X86_OP_XCHG,
    X86_OP_INC,
    X86_OP_DEC,
    X86_OP_NOT,
    X86_OP_NEG,
    X86_OP_BSWAP,
    X86_OP_WIDEN, /* cbw cwde cdqe */
    X86_OP_SIGN,  /* cwd cdq cqo */
    X86_OP_FLAG,  /* variant: low nibble of the opcode: cmc clc stc cld std */
    X86_OP_CMOV,  /* variant: condition */
    X86_OP_SET,   /* variant: condition */
    X86_OP_PUSH,
    X86_OP_POP,
    X86_OP_PUSHF,
    X86_OP_POPF,
    X86_OP_LEAVE,
    X86_OP_RET,
    X86_OP_CALL,
    X86_OP_JMP,
    X86_OP_JCC,  /* variant: condition */
    X86_OP_LOOP, /* variant: loopne loope loop jcxz */
};

struct insn_x86 {
    enum x86_map map;
    uint8_t opcode;
    uint8_t rex;     /* 0: none */
    uint8_t segment; /* the last segment prefix that counts; 0: none */
    uint8_t repeat;  /* f2 or f3, the last of them; 0: none */
    bool lock, opsize_prefix, addrsize_prefix;
    uint8_t opsize;   /* bytes: 2, 4, 8 */
    uint8_t addrsize; /* bytes: 2, 4, 8 */
    uint8_t vex_at;   /* where the VEX, EVEX or XOP prefix is, see map */
    uint8_t rex_at;

    bool has_modrm, ip_relative;
    uint8_t modrm_at;
    uint8_t mod, reg, rm;       /* with the bits of REX */
    uint8_t base, index, scale; /* registers, and a shift; X86_NO_REGISTER */
    int64_t disp;
    int64_t imm; /* sign-extended; for enter only the first */

    /* The plan. */
    enum x86_op op;
    uint8_t variant;
    uint8_t size;     /* bytes of the operands */
    uint8_t src_size; /* where it differs: movzx, movsx */
    struct x86_operand dst, src;
};

#define X86_NO_REGISTER 0xff

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

/* What the tables say of an opcode. */
#define X86_MODRM (1U << 0)
#define X86_IMM8 (1U << 1)
#define X86_IMM16 (1U << 2)
#define X86_IMMZ (1U << 3)      /* 2 or 4 bytes */
#define X86_IMMV (1U << 4)      /* 2, 4 or 8 bytes */
#define X86_RELZ (1U << 5)      /* a branch's 2 or 4 bytes */
#define X86_MOFFS (1U << 6)     /* an address */
#define X86_FAR (1U << 7)       /* segment and offset */
#define X86_UNKNOWN (1U << 8)   /* no instruction, or none that is known */
#define X86_ONLY_32 (1U << 9)   /* none in 64 bits */
#define X86_IN_PLACE (1U << 10) /* depends on where it stands, or is not for programs */

/* map: not X86_MAP_VEX. */
unsigned x86_attributes(enum x86_map map, uint8_t opcode);

/* Fills everything but the plan and the class. */
int x86_decode(const uint8_t *bytes, size_t n, struct insn *ret);

/* Fills the plan. */
void x86_plan(struct insn *i);

static inline bool x86_is_mem(const struct insn_x86 *x)
{
    return x->has_modrm && x->mod != 3;
}
