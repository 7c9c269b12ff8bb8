/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stddef.h>

#include "daemon/trace/insn-x86.h"

/* Intel SDM volume 2, appendix A, and AMD APM volume 3, appendix A: what follows an opcode, and
 * which of them a displaced copy must not be made of. Opcodes of which a part of ModRM decides are
 * refined where they are decoded and classified. */

#define M X86_MODRM
#define I8 X86_IMM8
#define I16 X86_IMM16
#define IZ X86_IMMZ
#define IV X86_IMMV
#define RZ X86_RELZ
#define MO X86_MOFFS
#define FAR X86_FAR
#define UNKNOWN X86_UNKNOWN
#define ONLY_32 X86_ONLY_32
#define IN_PLACE X86_IN_PLACE

/* Prefixes and escapes never get here; they are 0, as what has nothing behind it. */
static const uint16_t one_byte[256] = {
    [0x00 ... 0x03] = M,
    [0x04] = I8,
    [0x05] = IZ,
    [0x06 ... 0x07] = ONLY_32,
    [0x08 ... 0x0b] = M,
    [0x0c] = I8,
    [0x0d] = IZ,
    [0x0e] = ONLY_32,
    [0x10 ... 0x13] = M,
    [0x14] = I8,
    [0x15] = IZ,
    [0x16] = ONLY_32,
    [0x17] = ONLY_32 | IN_PLACE, /* pop ss: the step does not stop behind it */
    [0x18 ... 0x1b] = M,
    [0x1c] = I8,
    [0x1d] = IZ,
    [0x1e ... 0x1f] = ONLY_32,
    [0x20 ... 0x23] = M,
    [0x24] = I8,
    [0x25] = IZ,
    [0x27] = ONLY_32,
    [0x28 ... 0x2b] = M,
    [0x2c] = I8,
    [0x2d] = IZ,
    [0x2f] = ONLY_32,
    [0x30 ... 0x33] = M,
    [0x34] = I8,
    [0x35] = IZ,
    [0x37] = ONLY_32,
    [0x38 ... 0x3b] = M,
    [0x3c] = I8,
    [0x3d] = IZ,
    [0x3f] = ONLY_32,
    [0x60 ... 0x61] = ONLY_32,
    [0x62] = M | ONLY_32, /* bound; EVEX otherwise */
    [0x63] = M,
    [0x68] = IZ,
    [0x69] = M | IZ,
    [0x6a] = I8,
    [0x6b] = M | I8,
    [0x6c ... 0x6f] = IN_PLACE, /* ins, outs */
    [0x70 ... 0x7f] = I8,
    [0x80] = M | I8,
    [0x81] = M | IZ,
    [0x82] = M | I8 | ONLY_32,
    [0x83] = M | I8,
    [0x84 ... 0x8f] = M,
    [0x9a] = FAR | ONLY_32 | IN_PLACE,
    [0xa0 ... 0xa3] = MO,
    [0xa8] = I8,
    [0xa9] = IZ,
    [0xb0 ... 0xb7] = I8,
    [0xb8 ... 0xbf] = IV,
    [0xc0 ... 0xc1] = M | I8,
    [0xc2] = I16,
    [0xc4 ... 0xc5] = M | ONLY_32, /* les, lds; VEX otherwise */
    [0xc6] = M | I8,
    [0xc7] = M | IZ,
    [0xc8] = I16 | I8, /* enter */
    [0xca] = I16 | IN_PLACE,
    [0xcb ... 0xcc] = IN_PLACE, /* retf, int3 */
    [0xcd] = I8 | IN_PLACE,     /* int; of the system call more is known */
    [0xce] = ONLY_32 | IN_PLACE,
    [0xcf] = IN_PLACE, /* iret */
    [0xd0 ... 0xd3] = M,
    [0xd4 ... 0xd5] = I8 | ONLY_32,
    [0xd6] = ONLY_32,
    [0xd8 ... 0xdf] = M,
    [0xe0 ... 0xe3] = I8,
    [0xe4 ... 0xe7] = I8 | IN_PLACE, /* in, out */
    [0xe8 ... 0xe9] = RZ,
    [0xea] = FAR | ONLY_32 | IN_PLACE,
    [0xeb] = I8,
    [0xec ... 0xef] = IN_PLACE,
    [0xf1] = IN_PLACE,          /* int1 */
    [0xf4] = IN_PLACE,          /* hlt */
    [0xf6 ... 0xf7] = M,        /* test has an immediate */
    [0xfa ... 0xfb] = IN_PLACE, /* cli, sti */
    [0xfe ... 0xff] = M,
};

static const uint16_t two_byte[256] = {
    [0x00] = M | IN_PLACE,
    [0x01] = M | IN_PLACE, /* some are allowed, see insn-x86.c */
    [0x02 ... 0x03] = M,
    [0x04] = UNKNOWN,
    [0x06 ... 0x09] = IN_PLACE, /* clts, sysret, invd, wbinvd */
    [0x0a] = UNKNOWN,
    [0x0b] = IN_PLACE, /* ud2 */
    [0x0c] = UNKNOWN,
    [0x0d] = M,
    [0x0f] = M | I8, /* 3DNow!: the opcode is the last byte */
    [0x10 ... 0x1f] = M,
    [0x20 ... 0x23] = M | IN_PLACE, /* control and debug registers */
    [0x24 ... 0x27] = UNKNOWN,
    [0x28 ... 0x2f] = M,
    [0x30] = IN_PLACE,
    [0x32] = IN_PLACE,
    [0x34 ... 0x35] = IN_PLACE, /* sysenter, sysexit; of the former more is known */
    [0x36] = UNKNOWN,
    [0x37] = IN_PLACE,
    [0x39] = UNKNOWN,
    [0x3b ... 0x3f] = UNKNOWN,
    [0x40 ... 0x6f] = M,
    [0x70 ... 0x73] = M | I8,
    [0x74 ... 0x76] = M,
    [0x78 ... 0x79] = M,
    [0x7a ... 0x7b] = UNKNOWN,
    [0x7c ... 0x7f] = M,
    [0x80 ... 0x8f] = RZ,
    [0x90 ... 0x9f] = M,
    [0xa3] = M,
    [0xa4] = M | I8,
    [0xa5] = M,
    [0xa6 ... 0xa7] = UNKNOWN, /* VIA's */
    [0xaa] = IN_PLACE,         /* rsm */
    [0xab] = M,
    [0xac] = M | I8,
    [0xad ... 0xb1] = M,
    [0xb2] = M | IN_PLACE, /* lss: as pop ss */
    [0xb3 ... 0xb8] = M,
    [0xb9] = M | IN_PLACE, /* ud1 */
    [0xba] = M | I8,
    [0xbb ... 0xc1] = M,
    [0xc2] = M | I8,
    [0xc3] = M,
    [0xc4 ... 0xc6] = M | I8,
    [0xc7] = M,
    [0xd0 ... 0xfe] = M,
    [0xff] = M | IN_PLACE, /* ud0 */
};

unsigned x86_attributes(enum x86_map map, uint8_t opcode)
{
    switch (map) {
    case X86_MAP_ONE:
        return one_byte[opcode];
    case X86_MAP_0F:
        return two_byte[opcode];
    case X86_MAP_0F38:
        /* invept, invvpid, invpcid */
        return opcode >= 0x80 && opcode <= 0x82 ? M | IN_PLACE : M;
    case X86_MAP_0F3A:
        return M | I8;
    case X86_MAP_VEX:
        break;
    }
    return UNKNOWN;
}
