/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/insn-x86-flags.h"

uint64_t x86_sign_extend(uint64_t value, unsigned size)
{
    uint64_t sign = UINT64_C(1) << (8 * size - 1);

    value &= x86_mask(size);
    return (value ^ sign) - sign;
}

static uint64_t set_if(bool on, uint64_t flag)
{
    return on ? flag : 0;
}

static bool sign_of(uint64_t value, unsigned size)
{
    return value >> (8 * size - 1) & 1;
}

/* Those that follow from the result alone. */
static uint64_t result_flags(uint64_t result, unsigned size)
{
    bool even = !__builtin_parity((unsigned)(result & 0xff));

    return set_if(result == 0, FLAG_ZF) | set_if(sign_of(result, size), FLAG_SF) |
           set_if(even, FLAG_PF);
}

static uint64_t add(uint64_t a, uint64_t b, bool carry, unsigned size, uint64_t *ret_flags)
{
    uint64_t result = (a + b + carry) & x86_mask(size);

    *ret_flags =
        result_flags(result, size) | set_if(result < a || (carry && result == a), FLAG_CF) |
        set_if(sign_of((a ^ result) & (b ^ result), size), FLAG_OF) | ((a ^ b ^ result) & FLAG_AF);
    return result;
}

static uint64_t subtract(uint64_t a, uint64_t b, bool borrow, unsigned size, uint64_t *ret_flags)
{
    uint64_t result = (a - b - borrow) & x86_mask(size);

    *ret_flags = result_flags(result, size) | set_if(a < b || (borrow && a == b), FLAG_CF) |
                 set_if(sign_of((a ^ b) & (a ^ result), size), FLAG_OF) |
                 ((a ^ b ^ result) & FLAG_AF);
    return result;
}

/* The manuals leave AF undefined here; the processors of both vendors clear it. */
static uint64_t logic(uint64_t result, unsigned size, uint64_t *ret_flags)
{
    *ret_flags = result_flags(result, size);
    return result;
}

uint64_t x86_alu(unsigned variant, uint64_t a, uint64_t b, unsigned size, uint64_t *flags)
{
    bool carry = *flags & FLAG_CF;
    uint64_t set = 0, result = 0;

    a &= x86_mask(size);
    b &= x86_mask(size);
    switch (variant & 7) {
    case X86_ALU_ADD:
        result = add(a, b, false, size, &set);
        break;
    case X86_ALU_OR:
        result = logic(a | b, size, &set);
        break;
    case X86_ALU_ADC:
        result = add(a, b, carry, size, &set);
        break;
    case X86_ALU_SBB:
        result = subtract(a, b, carry, size, &set);
        break;
    case X86_ALU_AND:
        result = logic(a & b, size, &set);
        break;
    case X86_ALU_SUB:
    case X86_ALU_CMP:
        result = subtract(a, b, false, size, &set);
        break;
    case X86_ALU_XOR:
        result = logic(a ^ b, size, &set);
        break;
    }
    *flags = (*flags & ~(uint64_t)FLAGS_ARITHMETIC) | set;
    return result;
}

bool x86_condition(unsigned condition, uint64_t flags)
{
    bool less = !(flags & FLAG_SF) != !(flags & FLAG_OF);
    bool holds = false;

    switch (condition >> 1 & 7) {
    case 0:
        holds = flags & FLAG_OF;
        break;
    case 1:
        holds = flags & FLAG_CF;
        break;
    case 2:
        holds = flags & FLAG_ZF;
        break;
    case 3:
        holds = flags & (FLAG_CF | FLAG_ZF);
        break;
    case 4:
        holds = flags & FLAG_SF;
        break;
    case 5:
        holds = flags & FLAG_PF;
        break;
    case 6:
        holds = less;
        break;
    case 7:
        holds = less || flags & FLAG_ZF;
        break;
    }
    return holds != (condition & 1);
}
