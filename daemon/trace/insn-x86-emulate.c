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

static uint64_t read_dst(const struct run *r)
{
    return read_operand(r, r->x->dst, r->x->size);
}

static uint64_t read_src(const struct run *r)
{
    return read_operand(r, r->x->src, r->x->src_size ? r->x->src_size : r->x->size);
}

/* One function an operation. Each returns whether it could be done. */

static bool run_nop(struct run *r)
{
    return true;
}

static bool run_alu(struct run *r)
{
    const struct insn_x86 *x = r->x;
    uint64_t result = x86_alu(x->variant, read_dst(r), read_src(r), x->size, &r->cpu.flags);

    if (x->variant != X86_ALU_CMP)
        write_dst(r, result);
    return true;
}

static bool run_test(struct run *r)
{
    (void)x86_alu(X86_ALU_AND, read_dst(r), read_src(r), r->x->size, &r->cpu.flags);
    return true;
}

static bool run_neg(struct run *r)
{
    write_dst(r, x86_alu(X86_ALU_SUB, 0, read_dst(r), r->x->size, &r->cpu.flags));
    return true;
}

static bool run_not(struct run *r)
{
    write_dst(r, ~read_dst(r));
    return true;
}

/* Carry stays. */
static bool increment(struct run *r, unsigned variant)
{
    uint64_t carry = r->cpu.flags & FLAG_CF;

    write_dst(r, x86_alu(variant, read_dst(r), 1, r->x->size, &r->cpu.flags));
    r->cpu.flags = (r->cpu.flags & ~(uint64_t)FLAG_CF) | carry;
    return true;
}

static bool run_inc(struct run *r)
{
    return increment(r, X86_ALU_ADD);
}

static bool run_dec(struct run *r)
{
    return increment(r, X86_ALU_SUB);
}

/* With zeroes above what is narrower. */
static bool run_mov(struct run *r)
{
    write_dst(r, read_src(r));
    return true;
}

static bool run_movsx(struct run *r)
{
    write_dst(r, x86_sign_extend(read_src(r), r->x->src_size));
    return true;
}

static bool run_lea(struct run *r)
{
    write_dst(r, effective_address(r->i, &r->cpu));
    return true;
}

static bool run_xchg(struct run *r)
{
    uint64_t a = read_dst(r), b = read_src(r);

    write_reg(r, r->x->dst.reg, b, r->x->size);
    write_reg(r, r->x->src.reg, a, r->x->size);
    return true;
}

static bool run_bswap(struct run *r)
{
    uint64_t a = read_dst(r);

    write_dst(r, r->x->size == 8 ? __builtin_bswap64(a) : __builtin_bswap32((uint32_t)a));
    return true;
}

/* The accumulator becomes twice as wide in itself. */
static bool run_widen(struct run *r)
{
    write_dst(r, x86_sign_extend(r->cpu.regs[RAX], r->x->size / 2U));
    return true;
}

/* The accumulator's sign fills rdx. */
static bool run_sign(struct run *r)
{
    write_dst(r, x86_sign_extend(r->cpu.regs[RAX], r->x->size) >> 63 ? UINT64_MAX : 0);
    return true;
}

static bool run_flag(struct run *r)
{
    switch (r->x->variant) {
    case 5:
        r->cpu.flags ^= FLAG_CF;
        return true;
    case 8:
        r->cpu.flags &= ~(uint64_t)FLAG_CF;
        return true;
    case 9:
        r->cpu.flags |= FLAG_CF;
        return true;
    case 12:
        r->cpu.flags &= ~(uint64_t)FLAG_DF;
        return true;
    case 13:
        r->cpu.flags |= FLAG_DF;
        return true;
    default:
        return false;
    }
}

/* Writes in any case: of 32 bits the upper half goes. */
static bool run_cmov(struct run *r)
{
    write_dst(r, x86_condition(r->x->variant, r->cpu.flags) ? read_src(r) : read_dst(r));
    return true;
}

static bool run_set(struct run *r)
{
    write_dst(r, x86_condition(r->x->variant, r->cpu.flags));
    return true;
}

static bool push(struct run *r, uint64_t value)
{
    r->cpu.regs[RSP] = (r->cpu.regs[RSP] - r->word) & word_mask(r->i);
    r->store = (struct insn_memory){
        .address = r->cpu.regs[RSP], .value = value & x86_mask(r->word), .size = r->word};
    return true;
}

static void drop(struct run *r, uint64_t n)
{
    r->cpu.regs[RSP] = (r->cpu.regs[RSP] + n) & word_mask(r->i);
}

/* Of rsp: as it was. */
static bool run_push(struct run *r)
{
    return push(r, read_src(r));
}

static bool run_pushf(struct run *r)
{
    return push(r, r->cpu.flags & ~(uint64_t)(FLAG_RF | FLAG_VM));
}

/* Into rsp: the value wins. */
static bool run_pop(struct run *r)
{
    drop(r, r->word);
    write_dst(r, r->loaded);
    return true;
}

#define POPF_CHANGES (FLAGS_ARITHMETIC | FLAG_DF | FLAG_AC)

/* Refused: what a program may set there, and no tracer for it. */
static bool run_popf(struct run *r)
{
    uint64_t old = r->cpu.flags;

    if (r->loaded & FLAG_TF || (r->loaded ^ old) & (FLAG_NT | FLAG_ID) || old & FLAG_IOPL)
        return false;
    r->cpu.flags = (old & ~(uint64_t)POPF_CHANGES) | (r->loaded & POPF_CHANGES);
    drop(r, r->word);
    return true;
}

static bool run_leave(struct run *r)
{
    r->cpu.regs[RSP] = r->cpu.regs[RBP];
    drop(r, r->word);
    r->cpu.regs[RBP] = r->loaded & x86_mask(r->word);
    return true;
}

/* Out of the address space the processor faults, before the jump or behind it. */
static bool jump(struct run *r, uint64_t target)
{
    r->next = target & word_mask(r->i);
    return r->next < USER_END;
}

static bool branch(struct run *r)
{
    if (r->x->src.kind == X86_IMM)
        return jump(r, r->next + (uint64_t)r->x->imm);
    return jump(r, read_src(r));
}

/* The target first: it may be in rsp. */
static bool run_call(struct run *r)
{
    uint64_t after = r->next;

    return branch(r) && push(r, after);
}

static bool run_ret(struct run *r)
{
    drop(r, r->word + (uint64_t)(uint16_t)r->x->imm);
    return jump(r, r->loaded);
}

static bool run_jcc(struct run *r)
{
    return !x86_condition(r->x->variant, r->cpu.flags) || branch(r);
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

static bool run_loop(struct run *r)
{
    return !loop_goes_on(r) || branch(r);
}

static bool (*const operations[])(struct run *) = {
    [X86_OP_NOP] = run_nop,     [X86_OP_ALU] = run_alu,     [X86_OP_TEST] = run_test,
    [X86_OP_MOV] = run_mov,     [X86_OP_MOVZX] = run_mov,   [X86_OP_MOVSX] = run_movsx,
    [X86_OP_LEA] = run_lea,     [X86_OP_XCHG] = run_xchg,   [X86_OP_INC] = run_inc,
    [X86_OP_DEC] = run_dec,     [X86_OP_NOT] = run_not,     [X86_OP_NEG] = run_neg,
    [X86_OP_BSWAP] = run_bswap, [X86_OP_WIDEN] = run_widen, [X86_OP_SIGN] = run_sign,
    [X86_OP_FLAG] = run_flag,   [X86_OP_CMOV] = run_cmov,   [X86_OP_SET] = run_set,
    [X86_OP_PUSH] = run_push,   [X86_OP_POP] = run_pop,     [X86_OP_PUSHF] = run_pushf,
    [X86_OP_POPF] = run_popf,   [X86_OP_LEAVE] = run_leave, [X86_OP_RET] = run_ret,
    [X86_OP_CALL] = run_call,   [X86_OP_JMP] = branch,      [X86_OP_JCC] = run_jcc,
    [X86_OP_LOOP] = run_loop,
};

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
    if (!operations[i->x86.op](&r))
        return 0;
    r.cpu.ip = r.next;
    r.cpu.flags &= ~(uint64_t)FLAG_RF;
    *cpu = r.cpu;
    *ret_store = r.store;
    return 1;
}
