/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "daemon/trace/insn.h"

/* Classes, and the copy of an instruction that is executed elsewhere. */

/* Of the group 0f 01, most of which is for kernels and hypervisors: what programs use. */
static bool is_harmless_0f01(const struct insn_x86 *x)
{
    uint8_t modrm = (uint8_t)(0xc0 | (x->reg & 7) << 3 | (x->rm & 7));

    return x->mod == 3 && !x->repeat &&
           (modrm == 0xd0 || modrm == 0xee || modrm == 0xef || modrm == 0xf9); /* xgetbv, rdpkru,
                                                                                  wrpkru, rdtscp */
}

/* A copy must not be made, though the table of opcodes does not say so. */
static bool is_in_place(const struct insn_x86 *x)
{
    unsigned reg = x->reg & 7;

    if (x->map != X86_MAP_ONE)
        return false;
    switch (x->opcode) {
    case 0x8e: /* mov to ss: the step does not stop behind it; to cs there is none */
        return reg == 2 || reg == 1;
    case 0xc6: /* xabort, xbegin: the way back of a transaction is an address */
    case 0xc7:
        return reg == 7;
    case 0xff: /* far calls and jumps */
        return reg == 3 || reg == 5;
    default:
        return false;
    }
}

static bool is_system_call(const struct insn *i)
{
    const struct insn_x86 *x = &i->x86;

    if (x->map == X86_MAP_0F)
        return x->opcode == 0x05 || (x->opcode == 0x34 && i->isa == INSN_I386);
    return x->map == X86_MAP_ONE && x->opcode == 0xcd && (x->imm & 0xff) == 0x80;
}

static bool is_call(const struct insn_x86 *x)
{
    return x->map == X86_MAP_ONE && (x->opcode == 0xe8 || (x->opcode == 0xff && (x->reg & 7) == 2));
}

static bool is_return(const struct insn_x86 *x)
{
    return x->map == X86_MAP_ONE && (x->opcode == 0xc2 || x->opcode == 0xc3);
}

static bool is_indirect(const struct insn_x86 *x)
{
    return x->map == X86_MAP_ONE && x->opcode == 0xff && ((x->reg & 7) == 2 || (x->reg & 7) == 4);
}

static bool is_relative(const struct insn_x86 *x)
{
    if (x->map == X86_MAP_0F)
        return x->opcode >= 0x80 && x->opcode <= 0x8f;
    if (x->map != X86_MAP_ONE)
        return false;
    return (x->opcode >= 0x70 && x->opcode <= 0x7f) || (x->opcode >= 0xe0 && x->opcode <= 0xe3) ||
           x->opcode == 0xe8 || x->opcode == 0xe9 || x->opcode == 0xeb;
}

/* A branch of 16 bits: it cuts the program counter, or does not, depending on the vendor. */
static bool is_short_of_bits(const struct insn_x86 *x)
{
    return x->opsize == 2 && (is_relative(x) || is_return(x) || is_indirect(x));
}

static enum insn_class classify(const struct insn *i, unsigned flags)
{
    const struct insn_x86 *x = &i->x86;
    bool shadowed = flags & INSN_SHADOW_STACK;

    if (is_system_call(i))
        return INSN_SYSCALL;
    if (x->map == X86_MAP_0F && x->opcode == 0x01 && is_harmless_0f01(x))
        return INSN_DISPLACE;
    if (i->class == INSN_IN_PLACE || is_in_place(x) || is_short_of_bits(x))
        return INSN_IN_PLACE;
    if (shadowed && is_call(x))
        return INSN_IN_PLACE;
    if (x->op == X86_OP_NONE || (shadowed && x->op == X86_OP_RET))
        return INSN_DISPLACE;
    return INSN_EMULATE;
}

int insn_decode(const uint8_t *bytes, size_t n, enum insn_isa isa, unsigned flags, struct insn *ret)
{
    struct insn i = {.isa = isa};
    int r;

    r = x86_decode(bytes, n, &i);
    if (r < 0)
        return r;
    x86_plan(&i);
    i.class = classify(&i, flags);
    *ret = i;
    return 0;
}

static enum insn_fix find_fix(const struct insn *i)
{
    const struct insn_x86 *x = &i->x86;

    if (i->class == INSN_SYSCALL) {
        /* Of 32 bits: these two come back at an address of the vdso. */
        if (i->isa == INSN_I386 && x->map == X86_MAP_0F)
            return INSN_FIX_ABSOLUTE;
        return x->map == X86_MAP_0F ? INSN_FIX_SYSCALL : INSN_FIX_RELATIVE;
    }
    if (is_call(x))
        return x->opcode == 0xe8 ? INSN_FIX_CALL_RELATIVE : INSN_FIX_CALL_ABSOLUTE;
    if (is_return(x) || is_indirect(x))
        return INSN_FIX_ABSOLUTE;
    return INSN_FIX_RELATIVE;
}

/* The scratch register: none that the instruction names, and none of those that instructions use
 * without naming them (rax, rcx, rdx and rsp; rbx of cmpxchg16b, which names no other). What is
 * named is compared by its low bits: as a byte, 7 is bh. */
static int8_t find_scratch(const struct insn *i, const uint8_t *bytes)
{
    const uint8_t candidates[] = {RSI, RDI, RBX};
    const struct insn_x86 *x = &i->x86;
    uint8_t named = x->reg & 7, also = named;

    if (x->map == X86_MAP_VEX) {
        /* vvvv is inverted, in the byte before the opcode; EVEX has one more behind it. */
        uint8_t at = bytes[x->vex_at] == 0xc5 ? 1 : 2;

        also = ~(bytes[x->vex_at + at] >> 3) & 7;
    }
    for (size_t k = 0; k < sizeof(candidates); k++)
        if (candidates[k] != named && candidates[k] != also)
            return (int8_t)candidates[k];
    return -1;
}

/* [rip + disp32] becomes [scratch + disp32], which is as long. The extension of the base is
 * cleared: the processor ignored it before. */
static void point_with_scratch(const struct insn *i, struct insn_copy *c)
{
    const struct insn_x86 *x = &i->x86;

    c->bytes[x->modrm_at] = (uint8_t)(0x80 | (x->reg & 7) << 3 | c->scratch);
    if (x->rex)
        c->bytes[x->rex_at] &= 0xfe;
    if (x->map == X86_MAP_VEX && c->bytes[x->vex_at] != 0xc5)
        c->bytes[x->vex_at + 1] |= 0x20; /* inverted */
}

#define USER_END (UINT64_C(1) << 47)

/* A branch from `to` must be one that the processor makes: within the address space. */
static bool branch_is_possible(const struct insn *i, uint64_t to)
{
    if (i->isa != INSN_X86_64 || !is_relative(&i->x86))
        return true;
    return to + i->length + (uint64_t)i->x86.imm < USER_END;
}

int insn_displace(const struct insn *i, const uint8_t *bytes, uint64_t from, uint64_t to,
                  struct insn_copy *ret)
{
    struct insn_copy c = {.from = from, .to = to, .isa = i->isa, .scratch = -1};

    /* What pushes the flags would push the trap flag of the step. */
    if (i->class == INSN_IN_PLACE || (i->x86.map == X86_MAP_ONE && i->x86.opcode == 0x9c))
        return 0;
    if (!branch_is_possible(i, to))
        return 0;
    c.fix = find_fix(i);
    c.length = i->length;
    memcpy(c.bytes, bytes, i->length);
    if (i->x86.ip_relative) {
        c.scratch = find_scratch(i, bytes);
        if (c.scratch < 0)
            return 0;
        point_with_scratch(i, &c);
    }
    *ret = c;
    return 1;
}

void insn_enter(struct insn_copy *c, struct insn_cpu *cpu)
{
    if (c->scratch >= 0) {
        c->saved = cpu->regs[c->scratch];
        cpu->regs[c->scratch] = c->from + c->length;
    }
    cpu->ip = c->to;
}

static void move_back(const struct insn_copy *c, struct insn_cpu *cpu)
{
    cpu->ip += c->from - c->to;
    if (c->isa == INSN_I386)
        cpu->ip &= UINT32_MAX;
}

static struct insn_memory return_address(const struct insn_copy *c, const struct insn_cpu *cpu)
{
    struct insn_memory m = {.address = cpu->regs[RSP], .value = c->from + c->length, .size = 8};

    if (c->isa == INSN_I386) {
        m.size = 4;
        m.value &= UINT32_MAX;
    }
    return m;
}

int insn_leave(const struct insn_copy *c, struct insn_cpu *cpu, struct insn_memory *ret_store)
{
    struct insn_memory store = {};

    if (c->scratch >= 0)
        cpu->regs[c->scratch] = c->saved;
    if (cpu->ip == c->to) {
        cpu->ip = c->from;
        *ret_store = store;
        return 0;
    }
    switch (c->fix) {
    case INSN_FIX_RELATIVE:
        move_back(c, cpu);
        break;
    case INSN_FIX_ABSOLUTE:
        break;
    case INSN_FIX_CALL_RELATIVE:
        move_back(c, cpu);
        store = return_address(c, cpu);
        break;
    case INSN_FIX_CALL_ABSOLUTE:
        store = return_address(c, cpu);
        break;
    case INSN_FIX_SYSCALL:
        move_back(c, cpu);
        cpu->regs[RCX] = cpu->ip;
        break;
    }
    *ret_store = store;
    return 1;
}
