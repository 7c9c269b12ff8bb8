/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <elf.h>

#include "daemon/trace/arch-x86.h"
#include "daemon/trace/macro.h"

/* A 32-bit program under an x86_64 kernel: arch/x86/include/asm/user32.h, a word of four bytes
 * each, in its order. */
#define WORDS(X)                                                                                   \
    X(ebx, UNSIGNED)                                                                               \
    X(ecx, UNSIGNED)                                                                               \
    X(edx, UNSIGNED)                                                                               \
    X(esi, UNSIGNED)                                                                               \
    X(edi, UNSIGNED)                                                                               \
    X(ebp, UNSIGNED)                                                                               \
    X(eax, UNSIGNED)                                                                               \
    X(ds, UNSIGNED)                                                                                \
    X(es, UNSIGNED)                                                                                \
    X(fs, UNSIGNED)                                                                                \
    X(gs, UNSIGNED)                                                                                \
    X(orig_eax, UNSIGNED)                                                                          \
    X(eip, UNSIGNED)                                                                               \
    X(cs, UNSIGNED)                                                                                \
    X(eflags, FLAGS)                                                                               \
    X(esp, UNSIGNED)                                                                               \
    X(ss, UNSIGNED)

enum {
#define AS_INDEX(reg, what) INDEX_##reg,
    WORDS(AS_INDEX)
#undef AS_INDEX
        N_WORDS,
};

static const struct arch_set sets[] = {
    [X86_GENERAL] = {"general", NT_PRSTATUS, 4 * N_WORDS},
    [X86_FP] = {"fp", NT_PRFPREG, 108},
    [X86_XSTATE] = {"xstate", NT_X86_XSTATE, X86_XSTATE_MAX, .is_xsave = true},
    {"tls", NT_386_TLS, 48}, /* three struct user_desc, see set_thread_area(2) */
};

static const struct arch_register registers[] = {
#define AS_REGISTER(reg, what)                                                                     \
    {.name = #reg,                                                                                 \
     .set = X86_GENERAL,                                                                           \
     .type = ARCH_TYPE_##what,                                                                     \
     .size = 4,                                                                                    \
     .parts = {{.size = 4, .offset = 4 * INDEX_##reg}}},
    WORDS(AS_REGISTER)
#undef AS_REGISTER
        X86_X87_AND_CONTROL,
    X86_0_TO_7(X86_XMM),
    X86_0_TO_7(X86_YMM),
    X86_0_TO_7(X86_ZMM),
};

#define WORD(reg)                                                                                  \
    {                                                                                              \
        .set = X86_GENERAL, .size = 4, .offset = 4 * INDEX_##reg                                   \
    }

const struct arch arch_i386 = {
    .name = "i386",
    .word_size = 4,
    .breakpoint = {0xcc},
    .breakpoint_size = 1,
    .breakpoint_behind = 1,
    .restarts_relative = true,
    .general_size = 4 * N_WORDS,
    .sets = sets,
    .n_sets = ARRAY_LENGTH(sets),
    .registers = registers,
    .n_registers = ARRAY_LENGTH(registers),
    .roles =
        {
            [ARCH_PC] = WORD(eip),
            [ARCH_SP] = WORD(esp),
            [ARCH_FLAGS] = WORD(eflags),
            [ARCH_SYSCALL] = WORD(orig_eax),
            [ARCH_RESULT] = WORD(eax),
        },
};

static_assert(ARRAY_LENGTH(sets) <= ARCH_SETS_MAX, "struct regs has room for them");
static_assert(N_WORDS * 4 == 68, "NT_PRSTATUS has 68 bytes");
