/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The arithmetic of an x86 processor with its flags. size: bytes, 1 to 8. */

enum {
    FLAG_CF = 1U << 0,
    FLAG_PF = 1U << 2,
    FLAG_AF = 1U << 4,
    FLAG_ZF = 1U << 6,
    FLAG_SF = 1U << 7,
    FLAG_TF = 1U << 8,
    FLAG_IF = 1U << 9,
    FLAG_DF = 1U << 10,
    FLAG_OF = 1U << 11,
    FLAG_IOPL = 3U << 12,
    FLAG_NT = 1U << 14,
    FLAG_RF = 1U << 16,
    FLAG_VM = 1U << 17,
    FLAG_AC = 1U << 18,
    FLAG_ID = 1U << 21,
};

#define FLAGS_ARITHMETIC (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static inline uint64_t x86_mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

/* The arithmetic operations as the encoding numbers them. */
enum {
    X86_ALU_ADD,
    X86_ALU_OR,
    X86_ALU_ADC,
    X86_ALU_SBB,
    X86_ALU_AND,
    X86_ALU_SUB,
    X86_ALU_XOR,
    X86_ALU_CMP,
};

uint64_t x86_sign_extend(uint64_t value, unsigned size);

/* variant: one of the above. Returns the result (of cmp too, which nobody stores) and changes
 * *flags. */
uint64_t x86_alu(unsigned variant, uint64_t a, uint64_t b, unsigned size, uint64_t *flags);

/* Whether condition (the low nibble of jcc) holds. */
bool x86_condition(unsigned condition, uint64_t flags);
