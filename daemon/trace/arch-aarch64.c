/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <elf.h>
#include <stddef.h>

#include "daemon/trace/arch.h"
#include "daemon/trace/macro.h"

/* Of newer kernels; the numbers are fixed (include/uapi/linux/elf.h). */
#ifndef NT_ARM_SYSTEM_CALL
#define NT_ARM_SYSTEM_CALL 0x404
#endif
#ifndef NT_ARM_PAC_MASK
#define NT_ARM_PAC_MASK 0x406
#endif

enum {
    GENERAL = ARCH_GENERAL, /* struct user_pt_regs */
    FP,                     /* struct user_fpsimd_state */
    TLS,
    SYSTEM_CALL,
    POINTER_AUTHENTICATION,
};

/* Of struct user_pt_regs. */
enum {
    X_OFFSET = 0,
    SP_OFFSET = 31 * 8,
    PC_OFFSET = 32 * 8,
    PSTATE_OFFSET = 33 * 8,
    GENERAL_SIZE = 34 * 8,
};

/* Of struct user_fpsimd_state, which ends with eight bytes of padding. */
enum {
    V_OFFSET = 0,
    FPSR_OFFSET = 32 * 16,
    FPCR_OFFSET = FPSR_OFFSET + 4,
    FP_SIZE = FPCR_OFFSET + 4 + 8,
};

static const struct arch_set sets[] = {
    [GENERAL] = {"general", NT_PRSTATUS, GENERAL_SIZE},
    [FP] = {"fp", NT_PRFPREG, FP_SIZE},
    [TLS] = {"tls", NT_ARM_TLS, 16}, /* eight bytes where there is no tpidr2 */
    [SYSTEM_CALL] = {"syscall", NT_ARM_SYSTEM_CALL, 4},
    [POINTER_AUTHENTICATION] = {"pauth", NT_ARM_PAC_MASK, 16},
};

#define REG(text, which, what, bytes, at)                                                          \
    {                                                                                              \
        .name = (text), .set = (which), .type = (what), .size = (bytes), .parts = {                \
            {.size = (bytes), .offset = (at)}                                                      \
        }                                                                                          \
    }
#define X(i) REG("x" #i, GENERAL, ARCH_TYPE_UNSIGNED, 8, X_OFFSET + 8 * (i))
#define V(i) REG("v" #i, FP, ARCH_TYPE_VECTOR, 16, V_OFFSET + 16 * (i))
#define MASK(text, at)                                                                             \
    {                                                                                              \
        .name = (text), .set = POINTER_AUTHENTICATION, .type = ARCH_TYPE_FLAGS, .size = 8,         \
        .read_only = true, .parts = {                                                              \
            {.size = 8, .offset = (at)}                                                            \
        }                                                                                          \
    }

/* clang-format off */
#define UP_TO_30(M)                                                                                \
    M(0), M(1), M(2), M(3), M(4), M(5), M(6), M(7), M(8), M(9), M(10), M(11), M(12), M(13), M(14), \
    M(15), M(16), M(17), M(18), M(19), M(20), M(21), M(22), M(23), M(24), M(25), M(26), M(27),     \
    M(28), M(29), M(30)
/* clang-format on */

static const struct arch_register registers[] = {
    UP_TO_30(X),
    REG("sp", GENERAL, ARCH_TYPE_UNSIGNED, 8, SP_OFFSET),
    REG("pc", GENERAL, ARCH_TYPE_UNSIGNED, 8, PC_OFFSET),
    /* 64 bits for the kernel, of which the processor has 32. */
    REG("cpsr", GENERAL, ARCH_TYPE_FLAGS, 8, PSTATE_OFFSET),
    UP_TO_30(V),
    V(31),
    REG("fpsr", FP, ARCH_TYPE_FLAGS, 4, FPSR_OFFSET),
    REG("fpcr", FP, ARCH_TYPE_FLAGS, 4, FPCR_OFFSET),
    REG("tpidr", TLS, ARCH_TYPE_UNSIGNED, 8, 0),
    /* No register of the processor's: the number of the call that the thread is in, or -1. */
    REG("syscallno", SYSTEM_CALL, ARCH_TYPE_UNSIGNED, 4, 0),
    MASK("pauth_dmask", 0),
    MASK("pauth_cmask", 8),
};

/* A call is restarted at an address that the kernel keeps, and only where the program counter still
 * has it, so that a program counter that was set stays. */
const struct arch arch_aarch64 = {
    .name = "aarch64",
    .word_size = 8,
    .breakpoint = {0x00, 0x00, 0x20, 0xd4}, /* brk #0 */
    .breakpoint_size = 4,
    .breakpoint_behind = 0,
    .restarts_relative = false,
    .general_size = GENERAL_SIZE,
    .sets = sets,
    .n_sets = ARRAY_LENGTH(sets),
    .registers = registers,
    .n_registers = ARRAY_LENGTH(registers),
    .roles =
        {
            [ARCH_PC] = {GENERAL, 8, PC_OFFSET},
            [ARCH_SP] = {GENERAL, 8, SP_OFFSET},
            [ARCH_FLAGS] = {GENERAL, 8, PSTATE_OFFSET},
            [ARCH_SYSCALL] = {SYSTEM_CALL, 4, 0},
            [ARCH_RESULT] = {GENERAL, 8, X_OFFSET},
        },
};

static_assert(ARRAY_LENGTH(sets) <= ARCH_SETS_MAX, "struct regs has room for them");
static_assert(GENERAL_SIZE == 272, "NT_PRSTATUS has 272 bytes");
static_assert(FP_SIZE == 528, "NT_PRFPREG has 528 bytes");

#ifdef __aarch64__
#include <sys/user.h>

static_assert(offsetof(struct user_regs_struct, regs) == X_OFFSET, "x");
static_assert(offsetof(struct user_regs_struct, sp) == SP_OFFSET, "sp");
static_assert(offsetof(struct user_regs_struct, pc) == PC_OFFSET, "pc");
static_assert(offsetof(struct user_regs_struct, pstate) == PSTATE_OFFSET, "cpsr");
static_assert(sizeof(struct user_regs_struct) == GENERAL_SIZE, "general");
static_assert(offsetof(struct user_fpsimd_struct, vregs) == V_OFFSET, "v");
static_assert(offsetof(struct user_fpsimd_struct, fpsr) == FPSR_OFFSET, "fpsr");
static_assert(offsetof(struct user_fpsimd_struct, fpcr) == FPCR_OFFSET, "fpcr");
static_assert(sizeof(struct user_fpsimd_struct) == FP_SIZE, "fp");
#endif
