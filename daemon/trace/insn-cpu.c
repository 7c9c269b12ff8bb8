/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "daemon/trace/arch.h"
#include "daemon/trace/insn-cpu.h"
#include "daemon/trace/macro.h"

/* Offsets into user_regs_struct, in the order of the instructions' encoding: rax rcx rdx rbx rsp
 * rbp rsi rdi r8 to r15. */
static const uint8_t offsets_64[] = {80, 88, 96, 40, 152, 32, 104, 112,
                                     72, 64, 56, 48, 24,  16, 8,   0};
static const uint8_t offsets_32[] = {24, 4, 8, 0, 60, 20, 12, 16};

#define IP_64 128
#define FLAGS_64 144
#define FS_BASE_64 168
#define GS_BASE_64 176
#define IP_32 48
#define FLAGS_32 56

static uint64_t get(const uint8_t *general, unsigned offset, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, general + offset, size);
    return v;
}

static void put(uint8_t *general, unsigned offset, unsigned size, uint64_t v)
{
    memcpy(general + offset, &v, size);
}

int insn_cpu_load(const struct arch *arch, const uint8_t *general, struct insn_cpu *ret,
                  enum insn_isa *ret_isa)
{
    struct insn_cpu cpu = {0};

    if (arch == &arch_x86_64) {
        for (unsigned i = 0; i < ARRAY_LENGTH(offsets_64); i++)
            cpu.regs[i] = get(general, offsets_64[i], 8);
        cpu.ip = get(general, IP_64, 8);
        cpu.flags = get(general, FLAGS_64, 8);
        cpu.fs_base = get(general, FS_BASE_64, 8);
        cpu.gs_base = get(general, GS_BASE_64, 8);
        *ret_isa = INSN_X86_64;
    } else if (arch == &arch_i386) {
        for (unsigned i = 0; i < ARRAY_LENGTH(offsets_32); i++)
            cpu.regs[i] = get(general, offsets_32[i], 4);
        cpu.ip = get(general, IP_32, 4);
        cpu.flags = get(general, FLAGS_32, 4);
        *ret_isa = INSN_I386;
    } else
        return -EOPNOTSUPP;
    *ret = cpu;
    return 0;
}

void insn_cpu_store(const struct arch *arch, const struct insn_cpu *cpu, uint8_t *general)
{
    bool wide = arch == &arch_x86_64;
    unsigned size = wide ? 8 : 4;

    for (unsigned i = 0; i < (wide ? ARRAY_LENGTH(offsets_64) : ARRAY_LENGTH(offsets_32)); i++)
        put(general, wide ? offsets_64[i] : offsets_32[i], size, cpu->regs[i]);
    put(general, wide ? IP_64 : IP_32, size, cpu->ip);
    put(general, wide ? FLAGS_64 : FLAGS_32, size, cpu->flags);
}
