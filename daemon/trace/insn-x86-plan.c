/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/insn-x86-flags.h"
#include "daemon/trace/insn.h"

/* What it would mean to emulate an instruction: an operation on two operands, of which one at most
 * is in memory, and memory is either read or written. What has no plan is left to the processor. */

static struct x86_operand none(void)
{
    return (struct x86_operand){.kind = X86_NONE};
}

static struct x86_operand reg(uint8_t n)
{
    return (struct x86_operand){.kind = X86_REG, .reg = n};
}

static struct x86_operand imm(void)
{
    return (struct x86_operand){.kind = X86_IMM};
}

static struct x86_operand mem(void)
{
    return (struct x86_operand){.kind = X86_MEM};
}

static struct x86_operand modrm(const struct insn_x86 *x)
{
    return x86_is_mem(x) ? mem() : reg(x->rm);
}

/* The register in the low bits of the opcode. */
static struct x86_operand low(const struct insn_x86 *x)
{
    return reg((uint8_t)((x->opcode & 7) | (x->rex & 1 ? 8 : 0)));
}

static void set(struct insn_x86 *x, enum x86_op op, struct x86_operand dst, struct x86_operand src)
{
    x->op = op;
    x->dst = dst;
    x->src = src;
}

/* As set(), where a destination in memory would be read and written. */
static void set_unless_mem(struct insn_x86 *x, enum x86_op op, struct x86_operand dst,
                           struct x86_operand src)
{
    if (dst.kind != X86_MEM)
        set(x, op, dst, src);
}

static void plan_alu(struct insn_x86 *x, uint8_t variant, struct x86_operand dst,
                     struct x86_operand src)
{
    x->variant = variant;
    if (variant == X86_ALU_CMP)
        set(x, X86_OP_ALU, dst, src);
    else
        set_unless_mem(x, X86_OP_ALU, dst, src);
}

/* 00 to 3d: eight operations in six forms. */
static void plan_alu_form(struct insn_x86 *x)
{
    uint8_t variant = x->opcode >> 3 & 7;

    switch (x->opcode & 7) {
    case 0:
    case 1:
        plan_alu(x, variant, modrm(x), reg(x->reg));
        break;
    case 2:
    case 3:
        plan_alu(x, variant, reg(x->reg), modrm(x));
        break;
    case 4:
    case 5:
        plan_alu(x, variant, reg(RAX), imm());
        break;
    default: /* segment registers and decimals of old */
        break;
    }
}

/* f6, f7: the multiplications and divisions are the processor's. */
static void plan_group_3(struct insn_x86 *x)
{
    switch (x->reg & 7) {
    case 0:
        set(x, X86_OP_TEST, modrm(x), imm());
        break;
    case 2:
        set_unless_mem(x, X86_OP_NOT, modrm(x), none());
        break;
    case 3:
        set_unless_mem(x, X86_OP_NEG, modrm(x), none());
        break;
    default:
        break;
    }
}

static void plan_group_5(struct insn_x86 *x, uint8_t stack_size)
{
    switch (x->reg & 7) {
    case 0:
        set_unless_mem(x, X86_OP_INC, modrm(x), none());
        return;
    case 1:
        set_unless_mem(x, X86_OP_DEC, modrm(x), none());
        return;
    case 2:
        set(x, X86_OP_CALL, none(), modrm(x));
        break;
    case 4:
        set(x, X86_OP_JMP, none(), modrm(x));
        break;
    case 6:
        set(x, X86_OP_PUSH, none(), modrm(x));
        break;
    default:
        return;
    }
    x->size = stack_size;
}

static void plan_exchange(struct insn_x86 *x)
{
    if (low(x).reg == RAX)
        set(x, X86_OP_NOP, none(), none()); /* f3: pause */
    else if (!x->repeat)
        set(x, X86_OP_XCHG, reg(RAX), low(x));
}

/* Operands of one size, as the last bit of the opcode has it. */
static void plan_moves(struct insn_x86 *x, bool long_mode)
{
    switch (x->opcode) {
    case 0x63:
        if (!long_mode || x->opsize == 2)
            return;
        x->src_size = 4;
        set(x, X86_OP_MOVSX, reg(x->reg), modrm(x));
        break;
    case 0x80 ... 0x83:
        plan_alu(x, x->reg & 7, modrm(x), imm());
        break;
    case 0x84 ... 0x85:
        set(x, X86_OP_TEST, modrm(x), reg(x->reg));
        break;
    case 0x86 ... 0x87:
        set_unless_mem(x, X86_OP_XCHG, modrm(x), reg(x->reg));
        break;
    case 0x88 ... 0x89:
        set(x, X86_OP_MOV, modrm(x), reg(x->reg));
        break;
    case 0x8a ... 0x8b:
        set(x, X86_OP_MOV, reg(x->reg), modrm(x));
        break;
    case 0x8d:
        if (x86_is_mem(x))
            set(x, X86_OP_LEA, reg(x->reg), none());
        break;
    case 0xc6 ... 0xc7:
        if ((x->reg & 7) == 0)
            set(x, X86_OP_MOV, modrm(x), imm());
        break;
    default:
        break;
    }
}

static void plan_accumulator(struct insn_x86 *x)
{
    switch (x->opcode) {
    case 0x98:
        x->size = x->opsize;
        set(x, X86_OP_WIDEN, reg(RAX), none());
        break;
    case 0x99:
        set(x, X86_OP_SIGN, reg(RDX), reg(RAX));
        break;
    case 0xa8 ... 0xa9:
        set(x, X86_OP_TEST, reg(RAX), imm());
        break;
    case 0xb0 ... 0xb7:
        x->size = 1;
        set(x, X86_OP_MOV, low(x), imm());
        break;
    case 0xb8 ... 0xbf:
        x->size = x->opsize;
        set(x, X86_OP_MOV, low(x), imm());
        break;
    case 0xf5:
    case 0xf8 ... 0xf9:
    case 0xfc ... 0xfd:
        x->variant = x->opcode & 15;
        set(x, X86_OP_FLAG, none(), none());
        break;
    default:
        break;
    }
}

/* What goes through the stack, or somewhere else. Its size is not that of the prefixes. */
static void plan_flow(struct insn_x86 *x, uint8_t stack_size)
{
    x->size = stack_size;
    switch (x->opcode) {
    case 0x50 ... 0x57:
        set(x, X86_OP_PUSH, none(), low(x));
        break;
    case 0x58 ... 0x5f:
        set(x, X86_OP_POP, low(x), none());
        break;
    case 0x68:
    case 0x6a:
        set(x, X86_OP_PUSH, none(), imm());
        break;
    case 0x70 ... 0x7f:
        x->variant = x->opcode & 15;
        set(x, X86_OP_JCC, none(), imm());
        break;
    case 0x9c:
        set(x, X86_OP_PUSHF, none(), none());
        break;
    case 0x9d:
        set(x, X86_OP_POPF, none(), none());
        break;
    case 0xc2 ... 0xc3:
        set(x, X86_OP_RET, none(), imm());
        break;
    case 0xc9:
        set(x, X86_OP_LEAVE, none(), none());
        break;
    case 0xe0 ... 0xe3:
        x->variant = x->opcode & 3;
        set(x, X86_OP_LOOP, none(), imm());
        break;
    case 0xe8:
        set(x, X86_OP_CALL, none(), imm());
        break;
    case 0xe9:
    case 0xeb:
        set(x, X86_OP_JMP, none(), imm());
        break;
    default:
        break;
    }
}

static void plan_one(struct insn_x86 *x, bool long_mode)
{
    uint8_t stack_size = long_mode ? 8 : 4;

    x->size = x->opcode & 1 ? x->opsize : 1;
    switch (x->opcode) {
    case 0x00 ... 0x3f:
        plan_alu_form(x);
        break;
    case 0x40 ... 0x4f: /* REX in 64 bits */
        x->size = x->opsize;
        set(x, x->opcode & 8 ? X86_OP_DEC : X86_OP_INC, reg(x->opcode & 7), none());
        break;
    case 0x90 ... 0x97:
        x->size = x->opsize;
        plan_exchange(x);
        break;
    case 0xf6 ... 0xf7:
        plan_group_3(x);
        break;
    case 0xfe ... 0xff:
        plan_group_5(x, stack_size);
        break;
    default:
        plan_moves(x, long_mode);
        if (x->op == X86_OP_NONE)
            plan_accumulator(x);
        if (x->op == X86_OP_NONE)
            plan_flow(x, stack_size);
        break;
    }
}

static bool is_hint(const struct insn_x86 *x)
{
    bool is_endbr = x->repeat == 0xf3 && x->mod == 3 && (x->reg & 7) == 7 &&
                    ((x->rm & 7) == 2 || (x->rm & 7) == 3);

    switch (x->opcode) {
    case 0x0d: /* prefetchw and its like */
    case 0x18:
        return x86_is_mem(x) && !x->repeat;
    case 0x1e: /* others of this opcode read the shadow stack */
        return is_endbr && !x->opsize_prefix;
    case 0x1f:
        return !x->repeat;
    default:
        return false;
    }
}

static void plan_two(struct insn_x86 *x, uint8_t stack_size)
{
    x->size = x->opsize;
    x->variant = x->opcode & 15;
    switch (x->opcode) {
    case 0x40 ... 0x4f:
        set(x, X86_OP_CMOV, reg(x->reg), modrm(x));
        break;
    case 0x80 ... 0x8f:
        x->size = stack_size;
        set(x, X86_OP_JCC, none(), imm());
        break;
    case 0x90 ... 0x9f:
        x->size = 1;
        set(x, X86_OP_SET, modrm(x), none());
        break;
    case 0xb6 ... 0xb7:
    case 0xbe ... 0xbf:
        x->src_size = x->opcode & 1 ? 2 : 1;
        set(x, x->opcode & 8 ? X86_OP_MOVSX : X86_OP_MOVZX, reg(x->reg), modrm(x));
        break;
    case 0xc8 ... 0xcf: /* undefined for 16 bits */
        if (x->opsize != 2)
            set(x, X86_OP_BSWAP, low(x), none());
        break;
    default:
        break;
    }
}

static bool is_flow(const struct insn_x86 *x)
{
    return x->op >= X86_OP_RET;
}

static bool is_stack(const struct insn_x86 *x)
{
    return x->op >= X86_OP_PUSH && x->op < X86_OP_RET;
}

static bool segment_is_known(const struct insn_x86 *x, bool long_mode)
{
    bool is_memory = x->dst.kind == X86_MEM || x->src.kind == X86_MEM;

    /* In 64 bits there are only fs and gs; in 32 bits all their bases are in tables. On a branch
     * they are hints. */
    return !x->segment || long_mode || !is_memory;
}

/* Prefixes that change what the plan does not know of. */
static bool prefixes_are_known(const struct insn_x86 *x, bool long_mode)
{
    bool is_memory = x86_is_mem(x);

    if (is_flow(x) || is_stack(x)) {
        if (x->opsize_prefix && !(x->rex & 8))
            return false;
        /* f2 is bnd on a branch, f3 before ret is for an old AMD */
        if (x->repeat && !(is_flow(x) && (x->repeat == 0xf2 || x->op == X86_OP_RET)))
            return false;
    } else if (x->repeat && x->op != X86_OP_NOP)
        return false;
    return (!is_memory || x->addrsize != 2) && segment_is_known(x, long_mode);
}

void x86_plan(struct insn *i)
{
    struct insn_x86 *x = &i->x86;
    bool long_mode = i->isa == INSN_X86_64;

    if (x->lock)
        return;
    if (x->map == X86_MAP_ONE)
        plan_one(x, long_mode);
    else if (x->map == X86_MAP_0F && is_hint(x)) {
        set(x, X86_OP_NOP, none(), none());
        return;
    } else if (x->map == X86_MAP_0F)
        plan_two(x, long_mode ? 8 : 4);
    if (!prefixes_are_known(x, long_mode))
        x->op = X86_OP_NONE;
}
