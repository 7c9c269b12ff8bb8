/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <elf.h>
#include <stddef.h>

#include "daemon/trace/arch-x86.h"
#include "daemon/trace/macro.h"

/* struct user_regs_struct, a word each, in its order. */
#define WORDS(X)                                                                                   \
    X(r15, UNSIGNED)                                                                               \
    X(r14, UNSIGNED)                                                                               \
    X(r13, UNSIGNED)                                                                               \
    X(r12, UNSIGNED)                                                                               \
    X(rbp, UNSIGNED)                                                                               \
    X(rbx, UNSIGNED)                                                                               \
    X(r11, UNSIGNED)                                                                               \
    X(r10, UNSIGNED)                                                                               \
    X(r9, UNSIGNED)                                                                                \
    X(r8, UNSIGNED)                                                                                \
    X(rax, UNSIGNED)                                                                               \
    X(rcx, UNSIGNED)                                                                               \
    X(rdx, UNSIGNED)                                                                               \
    X(rsi, UNSIGNED)                                                                               \
    X(rdi, UNSIGNED)                                                                               \
    X(orig_rax, UNSIGNED)                                                                          \
    X(rip, UNSIGNED)                                                                               \
    X(cs, UNSIGNED)                                                                                \
    X(eflags, FLAGS)                                                                               \
    X(rsp, UNSIGNED)                                                                               \
    X(ss, UNSIGNED)                                                                                \
    X(fs_base, UNSIGNED)                                                                           \
    X(gs_base, UNSIGNED)                                                                           \
    X(ds, UNSIGNED)                                                                                \
    X(es, UNSIGNED)                                                                                \
    X(fs, UNSIGNED)                                                                                \
    X(gs, UNSIGNED)

enum {
#define AS_INDEX(reg, what) INDEX_##reg,
    WORDS(AS_INDEX)
#undef AS_INDEX
        N_WORDS,
};

static const struct arch_set sets[] = {
    [X86_GENERAL] = {"general", NT_PRSTATUS, 8 * N_WORDS},
    [X86_FP] = {"fp", NT_PRFPREG, 512},
    [X86_XSTATE] = {"xstate", NT_X86_XSTATE, X86_XSTATE_MAX, .is_xsave = true},
};

static const struct arch_register registers[] = {
#define AS_REGISTER(reg, what)                                                                     \
    {.name = #reg,                                                                                 \
     .set = X86_GENERAL,                                                                           \
     .type = ARCH_TYPE_##what,                                                                     \
     .size = 8,                                                                                    \
     .parts = {{.size = 8, .offset = 8 * INDEX_##reg}}},
    WORDS(AS_REGISTER)
#undef AS_REGISTER
        X86_X87_AND_CONTROL,
    X86_0_TO_7(X86_XMM),
    X86_8_TO_15(X86_XMM),
    X86_0_TO_7(X86_YMM),
    X86_8_TO_15(X86_YMM),
    X86_0_TO_7(X86_ZMM),
    X86_8_TO_15(X86_ZMM),
    X86_16_TO_31(X86_HIGH_ZMM),
};

#define WORD(reg)                                                                                  \
    {                                                                                              \
        .set = X86_GENERAL, .size = 8, .offset = 8 * INDEX_##reg                                   \
    }

const struct arch arch_x86_64 = {
    .name = "x86_64",
    .word_size = 8,
    .breakpoint = {0xcc},
    .breakpoint_size = 1,
    .red_zone = 128,
    .breakpoint_behind = 1,
    .restarts_relative = true,
    .general_size = 8 * N_WORDS,
    .sets = sets,
    .n_sets = ARRAY_LENGTH(sets),
    .registers = registers,
    .n_registers = ARRAY_LENGTH(registers),
    .roles =
        {
            [ARCH_PC] = WORD(rip),
            [ARCH_SP] = WORD(rsp),
            [ARCH_FLAGS] = WORD(eflags),
            [ARCH_SYSCALL] = WORD(orig_rax),
            [ARCH_RESULT] = WORD(rax),
        },
};

static_assert(ARRAY_LENGTH(sets) <= ARCH_SETS_MAX, "struct regs has room for them");
static_assert(N_WORDS * 8 == 216, "NT_PRSTATUS has 216 bytes");

#ifdef __x86_64__
#include <sys/user.h>

#define AS_ASSERTION(reg, what)                                                                    \
    static_assert(offsetof(struct user_regs_struct, reg) == (size_t)8 * INDEX_##reg, #reg);
WORDS(AS_ASSERTION)
#undef AS_ASSERTION
static_assert(sizeof(struct user_regs_struct) == (size_t)8 * N_WORDS, "general");
static_assert(sizeof(struct user_fpregs_struct) == 512, "fp");
static_assert(offsetof(struct user_fpregs_struct, mxcsr) == ARCH_XSAVE_MXCSR_OFFSET, "mxcsr");
static_assert(offsetof(struct user_fpregs_struct, st_space) == ARCH_XSAVE_ST_OFFSET, "st");
static_assert(offsetof(struct user_fpregs_struct, xmm_space) == ARCH_XSAVE_XMM_OFFSET, "xmm");
#endif
