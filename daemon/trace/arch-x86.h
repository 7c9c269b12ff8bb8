/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/arch.h"

/* For the tables of arch-x86_64.c and arch-i386.c: what lies in the XSAVE area is the same for
 * both, up to the number of registers. */

enum {
    X86_GENERAL = ARCH_GENERAL,
    X86_FP,
    X86_XSTATE,
};

/* AMX's tiles take 8 KiB of it, where a program has asked for them. */
#define X86_XSTATE_MAX 16384u

/* clang-format off */
#define X86_XREG(text, what, bytes, ...)                                                           \
    {.name = (text), .set = X86_XSTATE, .type = (what), .size = (bytes), .parts = {__VA_ARGS__}}

#define X86_ST(i) X86_XREG("st" #i, ARCH_TYPE_FLOAT80, 10, {ARCH_XSAVE_X87, 10, ARCH_XSAVE_ST_OFFSET + 16 * (i)})
#define X86_LOW(i) {ARCH_XSAVE_SSE, 16, ARCH_XSAVE_XMM_OFFSET + 16 * (i)}
#define X86_MIDDLE(i) {ARCH_XSAVE_AVX, 16, 16 * (i)}
#define X86_XMM(i) X86_XREG("xmm" #i, ARCH_TYPE_VECTOR, 16, X86_LOW(i))
#define X86_YMM(i) X86_XREG("ymm" #i, ARCH_TYPE_VECTOR, 32, X86_LOW(i), X86_MIDDLE(i))
#define X86_ZMM(i) X86_XREG("zmm" #i, ARCH_TYPE_VECTOR, 64, X86_LOW(i), X86_MIDDLE(i), {ARCH_XSAVE_ZMM_HIGH, 32, 32 * (i)})
#define X86_HIGH_ZMM(i) X86_XREG("zmm" #i, ARCH_TYPE_VECTOR, 64, {ARCH_XSAVE_HIGH_ZMM, 64, 64 * ((i) - 16)})
#define X86_K(i) X86_XREG("k" #i, ARCH_TYPE_UNSIGNED, 8, {ARCH_XSAVE_OPMASK, 8, 8 * (i)})

#define X86_0_TO_7(X) X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7)
#define X86_8_TO_15(X) X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15)
#define X86_16_TO_31(X)                                                                            \
    X(16), X(17), X(18), X(19), X(20), X(21), X(22), X(23),                                        \
    X(24), X(25), X(26), X(27), X(28), X(29), X(30), X(31)

/* ftag is the short form that FXSAVE writes: a bit for each physical register that is not empty. */
#define X86_X87_AND_CONTROL                                                                        \
    X86_0_TO_7(X86_ST),                                                                            \
    X86_XREG("fctrl", ARCH_TYPE_FLAGS, 2, {ARCH_XSAVE_X87, 2, 0}),                                      \
    X86_XREG("fstat", ARCH_TYPE_FLAGS, 2, {ARCH_XSAVE_X87, 2, 2}),                                      \
    X86_XREG("ftag", ARCH_TYPE_FLAGS, 1, {ARCH_XSAVE_X87, 1, 4}),                                       \
    X86_XREG("fop", ARCH_TYPE_UNSIGNED, 2, {ARCH_XSAVE_X87, 2, 6}),                                     \
    X86_XREG("fioff", ARCH_TYPE_UNSIGNED, 4, {ARCH_XSAVE_X87, 4, 8}),                                   \
    X86_XREG("fiseg", ARCH_TYPE_UNSIGNED, 2, {ARCH_XSAVE_X87, 2, 12}),                                  \
    X86_XREG("fooff", ARCH_TYPE_UNSIGNED, 4, {ARCH_XSAVE_X87, 4, 16}),                                  \
    X86_XREG("foseg", ARCH_TYPE_UNSIGNED, 2, {ARCH_XSAVE_X87, 2, 20}),                                  \
    X86_XREG("mxcsr", ARCH_TYPE_FLAGS, 4, {ARCH_XSAVE_MXCSR, 4, ARCH_XSAVE_MXCSR_OFFSET}),              \
    X86_0_TO_7(X86_K),                                                                             \
    X86_XREG("pkru", ARCH_TYPE_FLAGS, 4, {ARCH_XSAVE_PKRU, 4, 0})
/* clang-format on */
