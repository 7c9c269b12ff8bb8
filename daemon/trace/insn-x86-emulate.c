/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/insn-x86-flags.h"
#include "daemon/trace/insn.h"

/* Carries out a plan on a copy of the registers, which the caller gets only if all went well. */

struct run {
    const struct insn *i;
    const struct insn_x86 *x;
    struct insn_cpu cpu; /* ip: still this instruction's */
    uint64_t next;       /* where it goes on */
    uint64_t loaded;
    struct insn_memory store;
    uint8_t word; /* bytes of an address: 4 or 8 */
};

#define USER_END (UINT64_C(1) << 47)

static uint64_t word_mask(const struct insn *i)
{
    return i->isa == INSN_X86_64 ? UINT64_MAX : UINT32_MAX;
}

/* Without REX, 4 to 7 as a byte are ah ch dh bh. */
static bool is_high_byte(const struct insn_x86 *x, uint8_t reg, unsigned size)
{
    return size == 1 && !x->rex && reg >= 4;
}

static uint64_t read_reg(const struct run *r, uint8_t reg, unsigned size)
{
    if (is_high_byte(r->x, reg, size))
        return r->cpu.regs[reg & 3] >> 8 & 0xff;
    return r->cpu.regs[reg] & x86_mask(size);
}

/* Of 32 bits the upper half is cleared, of 8 and 16 the rest is kept. */
static void write_reg(struct run *r, uint8_t reg, uint64_t value, unsigned size)
{
    uint64_t mask = x86_mask(size);

    if (is_high_byte(r->x, reg, size)) {
        reg &= 3;
        value <<= 8;
        mask <<= 8;
    }
    if (size >= 4)
        r->cpu.regs[reg] = value & mask;
    else
        r->cpu.regs[reg] = (r->cpu.regs[reg] & ~mask) | (value & mask);
}

/* What lea computes: without a segment. */
static uint64_t effective_address(const struct insn *i, const struct insn_cpu *cpu)
{
    const struct insn_x86 *x = &i->x86;
    uint64_t address = (uint64_t)x->disp;

    if (x->ip_relative)
        address += cpu->ip + i->length;
    if (x->base != X86_NO_REGISTER)
        address += cpu->regs[x->base];
    if (x->index != X86_NO_REGISTER)
        address += cpu->regs[x->index] << x->scale;
    return x->addrsize == 4 ? address & UINT32_MAX : address;
}

static uint64_t linear_address(const struct insn *i, const struct insn_cpu *cpu)
{
    uint64_t address = effective_address(i, cpu);

    if (i->x86.segment == 0x64)
        address += cpu->fs_base;
    else if (i->x86.segment == 0x65)
        address += cpu->gs_base;
    return address;
}

static uint64_t read_operand(const struct run *r, struct x86_operand o, unsigned size)
{
    switch (o.kind) {
    case X86_NONE:
        break;
    case X86_REG:
        return read_reg(r, o.reg, size);
    case X86_MEM:
        return r->loaded & x86_mask(size);
    case X86_IMM:
        return (uint64_t)r->x->imm & x86_mask(size);
    }
    return 0;
}

static void write_dst(struct run *r, uint64_t value)
{
    unsigned size = r->x->size;

    if (r->x->dst.kind == X86_REG)
        write_reg(r, r->x->dst.reg, value, size);
    else
        r->store = (struct insn_memory){.address = linear_address(r->i, &r->cpu),
                                        .value = value & x86_mask(size),
                                        .size = (uint8_t)size};
}

/* Carry stays. */
static void increment(struct run *r, bool down)
{
    uint64_t carry = r->cpu.flags & FLAG_CF;
    uint64_t a = read_operand(r, r->x->dst, r->x->size);

    write_dst(r, x86_alu(down ? 5 : 0, a, 1, r->x->size, &r->cpu.flags));
    r->cpu.flags = (r->cpu.flags & ~(uint64_t)FLAG_CF) | carry;
}

static void run_alu(struct run *r)
{
    const struct insn_x86 *x = r->x;
    uint64_t a = read_operand(r, x->dst, x->size);
    uint64_t b = read_operand(r, x->src, x->size);
    uint64_t result;

    if (x->op == X86_OP_TEST) {
        (void)x86_alu(4, a, b, x->size, &r->cpu.flags);
        return;
    }
    result = x86_alu(x->variant, a, b, x->size, &r->cpu.flags);
    if (x->variant != 7)
        write_dst(r, result);
}

static void exchange(struct run *r)
{
    uint64_t a = read_operand(r, r->x->dst, r->x->size);
    uint64_t b = read_operand(r, r->x->src, r->x->size);

    write_reg(r, r->x->dst.reg, b, r->x->size);
    write_reg(r, r->x->src.reg, a, r->x->size);
}

/* The accumulator becomes twice as wide in itself, or its sign fills rdx. */
static void widen(struct run *r)
{
    const struct insn_x86 *x = r->x;
    uint64_t a = r->cpu.regs[RAX];

    if (x->op == X86_OP_WIDEN)
        write_dst(r, x86_sign_extend(a, x->size / 2U));
    else
        write_dst(r, x86_sign_extend(a, x->size) >> 63 ? UINT64_MAX : 0);
}

static void byte_swap(struct run *r)
{
    uint64_t a = read_operand(r, r->x->dst, r->x->size);

    write_dst(r, r->x->size == 8 ? __builtin_bswap64(a) : __builtin_bswap32((uint32_t)a));
}

static void change_flag(struct run *r)
{
    switch (r->x->variant) {
    case 5:
        r->cpu.flags ^= FLAG_CF;
        break;
    case 8:
        r->cpu.flags &= ~(uint64_t)FLAG_CF;
        break;
    case 9:
        r->cpu.flags |= FLAG_CF;
        break;
    case 12:
        r->cpu.flags &= ~(uint64_t)FLAG_DF;
        break;
    case 13:
        r->cpu.flags |= FLAG_DF;
        break;
    }
}

/* In registers, and at most one store. */
static void run_data(struct run *r)
{
    const struct insn_x86 *x = r->x;
    uint64_t src;

    switch (x->op) {
    case X86_OP_MOV:
        write_dst(r, read_operand(r, x->src, x->size));
        break;
    case X86_OP_MOVZX:
        write_dst(r, read_operand(r, x->src, x->src_size));
        break;
    case X86_OP_MOVSX:
        write_dst(r, x86_sign_extend(read_operand(r, x->src, x->src_size), x->src_size));
        break;
    case X86_OP_LEA:
        write_dst(r, effective_address(r->i, &r->cpu));
        break;
    case X86_OP_NOT:
        write_dst(r, ~read_operand(r, x->dst, x->size));
        break;
    case X86_OP_NEG:
        src = read_operand(r, x->dst, x->size);
        write_dst(r, x86_alu(5, 0, src, x->size, &r->cpu.flags));
        break;
    case X86_OP_CMOV: /* writes in any case: of 32 bits the upper half goes */
        src = read_operand(r, x->src, x->size);
        write_dst(r,
                  x86_condition(x->variant, r->cpu.flags) ? src : read_reg(r, x->dst.reg, x->size));
        break;
    case X86_OP_SET:
        write_dst(r, x86_condition(x->variant, r->cpu.flags));
        break;
    default:
        break;
    }
}

static void push(struct run *r, uint64_t value)
{
    r->cpu.regs[RSP] = (r->cpu.regs[RSP] - r->word) & word_mask(r->i);
    r->store = (struct insn_memory){
        .address = r->cpu.regs[RSP], .value = value & x86_mask(r->word), .size = r->word};
}

static void drop(struct run *r, uint64_t n)
{
    r->cpu.regs[RSP] = (r->cpu.regs[RSP] + n) & word_mask(r->i);
}

#define POPF_CHANGES (FLAGS_ARITHMETIC | FLAG_DF | FLAG_AC)

/* Refused: what a program may set there, and no tracer for it. */
static bool pop_flags(struct run *r)
{
    uint64_t old = r->cpu.flags;

    if (r->loaded & FLAG_TF || (r->loaded ^ old) & (FLAG_NT | FLAG_ID) || old & FLAG_IOPL)
        return false;
    r->cpu.flags = (old & ~(uint64_t)POPF_CHANGES) | (r->loaded & POPF_CHANGES);
    drop(r, r->word);
    return true;
}

static bool run_stack(struct run *r)
{
    const struct insn_x86 *x = r->x;

    switch (x->op) {
    case X86_OP_PUSH: /* of rsp: as it was */
        push(r, read_operand(r, x->src, r->word));
        return true;
    case X86_OP_PUSHF:
        push(r, r->cpu.flags & ~(uint64_t)(FLAG_RF | FLAG_VM));
        return true;
    case X86_OP_POP: /* into rsp: the value wins */
        drop(r, r->word);
        write_reg(r, x->dst.reg, r->loaded, r->word);
        return true;
    case X86_OP_POPF:
        return pop_flags(r);
    case X86_OP_LEAVE:
        r->cpu.regs[RSP] = r->cpu.regs[RBP];
        drop(r, r->word);
        r->cpu.regs[RBP] = r->loaded & x86_mask(r->word);
        return true;
    default:
        return false;
    }
}

/* Out of the address space the processor faults, before the jump or behind it. */
static bool jump(struct run *r, uint64_t target)
{
    r->next = target & word_mask(r->i);
    return r->next < USER_END;
}

/* Counts down in rcx (ecx with the prefix, in i386 cx), and asks the zero flag. */
static bool loop_goes_on(struct run *r)
{
    unsigned size = r->x->addrsize;
    uint64_t count = read_reg(r, RCX, size);
    bool zero = r->cpu.flags & FLAG_ZF;

    if (r->x->variant == 3)
        return count == 0;
    count = (count - 1) & x86_mask(size);
    write_reg(r, RCX, count, size);
    return count != 0 && (r->x->variant == 2 || zero == (r->x->variant == 1));
}

static bool run_flow(struct run *r)
{
    const struct insn_x86 *x = r->x;
    uint64_t target;

    if (x->src.kind == X86_IMM)
        target = r->next + (uint64_t)x->imm;
    else
        target = read_operand(r, x->src, r->word);
    switch (x->op) {
    case X86_OP_JMP:
        return jump(r, target);
    case X86_OP_JCC:
        return !x86_condition(x->variant, r->cpu.flags) || jump(r, target);
    case X86_OP_LOOP:
        return !loop_goes_on(r) || jump(r, target);
    case X86_OP_CALL:
        push(r, r->next);
        return jump(r, target);
    case X86_OP_RET:
        drop(r, r->word + (uint64_t)(uint16_t)x->imm);
        return jump(r, r->loaded);
    default:
        return false;
    }
}

static bool run_plan(struct run *r)
{
    switch (r->x->op) {
    case X86_OP_NONE:
        return false;
    case X86_OP_NOP:
        return true;
    case X86_OP_ALU:
    case X86_OP_TEST:
        run_alu(r);
        return true;
    case X86_OP_MOV:
    case X86_OP_MOVZX:
    case X86_OP_MOVSX:
    case X86_OP_LEA:
    case X86_OP_NOT:
    case X86_OP_NEG:
    case X86_OP_CMOV:
    case X86_OP_SET:
        run_data(r);
        return true;
    case X86_OP_XCHG:
        exchange(r);
        return true;
    case X86_OP_INC:
        increment(r, false);
        return true;
    case X86_OP_DEC:
        increment(r, true);
        return true;
    case X86_OP_BSWAP:
        byte_swap(r);
        return true;
    case X86_OP_WIDEN:
    case X86_OP_SIGN:
        widen(r);
        return true;
    case X86_OP_CARRY:
        change_flag(r);
        return true;
    case X86_OP_PUSH:
    case X86_OP_POP:
    case X86_OP_PUSHF:
    case X86_OP_POPF:
    case X86_OP_LEAVE:
        return run_stack(r);
    case X86_OP_RET:
    case X86_OP_CALL:
    case X86_OP_JMP:
    case X86_OP_JCC:
    case X86_OP_LOOP:
        return run_flow(r);
    }
    return false;
}

/* The processor would trap, or check alignment, behind and within the instruction. */
static bool is_possible(const struct insn *i, const struct insn_cpu *cpu)
{
    return i->class == INSN_EMULATE && !(cpu->flags & (FLAG_TF | FLAG_AC));
}

static bool reads_dst(const struct insn_x86 *x)
{
    return x->op == X86_OP_ALU || x->op == X86_OP_TEST;
}

int insn_load(const struct insn *i, const struct insn_cpu *cpu, struct insn_memory *ret)
{
    const struct insn_x86 *x = &i->x86;
    uint8_t word = i->isa == INSN_X86_64 ? 8 : 4;
    struct insn_memory m = {};

    if (!is_possible(i, cpu))
        return 0;
    if (x->op == X86_OP_POP || x->op == X86_OP_POPF || x->op == X86_OP_RET)
        m = (struct insn_memory){.address = cpu->regs[RSP], .size = word};
    else if (x->op == X86_OP_LEAVE)
        m = (struct insn_memory){.address = cpu->regs[RBP], .size = word};
    else if (x->src.kind == X86_MEM || (x->dst.kind == X86_MEM && reads_dst(x)))
        m = (struct insn_memory){.address = linear_address(i, cpu),
                                 .size = x->src_size ? x->src_size : x->size};
    *ret = m;
    return 1;
}

int insn_emulate(const struct insn *i, struct insn_cpu *cpu, const struct insn_memory *load,
                 struct insn_memory *ret_store)
{
    struct run r = {.i = i,
                    .x = &i->x86,
                    .cpu = *cpu,
                    .loaded = load->value,
                    .word = i->isa == INSN_X86_64 ? 8 : 4};

    if (!is_possible(i, cpu))
        return 0;
    r.next = (cpu->ip + i->length) & word_mask(i);
    if (!run_plan(&r))
        return 0;
    r.cpu.ip = r.next;
    r.cpu.flags &= ~(uint64_t)FLAG_RF;
    *cpu = r.cpu;
    *ret_store = r.store;
    return 1;
}
