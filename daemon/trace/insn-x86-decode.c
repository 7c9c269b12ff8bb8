/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stddef.h>

#include "daemon/trace/insn.h"

/* Where an instruction ends. The bytes are the program's: every one is taken through take(), which
 * knows how many there are, and the longest loop runs over them once. */

struct cursor {
    const uint8_t *bytes;
    size_t n; /* never more than INSN_LENGTH_MAX */
    size_t at;
    bool short_of; /* more was wanted */
};

static uint8_t take(struct cursor *c)
{
    if (c->at >= c->n) {
        c->short_of = true;
        return 0;
    }
    return c->bytes[c->at++];
}

static uint8_t peek(const struct cursor *c)
{
    return c->at < c->n ? c->bytes[c->at] : 0;
}

static int64_t take_signed(struct cursor *c, unsigned size)
{
    uint64_t value = 0;

    for (unsigned k = 0; k < size; k++)
        value |= (uint64_t)take(c) << (8 * k);
    switch (size) {
    case 1:
        return (int8_t)value;
    case 2:
        return (int16_t)value;
    case 4:
        return (int32_t)value;
    default:
        return (int64_t)value;
    }
}

static bool take_prefix(struct cursor *c, struct insn_x86 *x, bool long_mode)
{
    uint8_t byte = peek(c);

    if (long_mode && (byte & 0xf0) == 0x40) {
        x->rex = byte;
        x->rex_at = (uint8_t)c->at++;
        return true;
    }
    switch (byte) {
    case 0x66:
        x->opsize_prefix = true;
        break;
    case 0x67:
        x->addrsize_prefix = true;
        break;
    case 0xf0:
        x->lock = true;
        break;
    case 0xf2:
    case 0xf3:
        x->repeat = byte;
        break;
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        if (!long_mode) /* or else it isn't one, and the one before it stays */
            x->segment = byte;
        break;
    case 0x64:
    case 0x65:
        x->segment = byte;
        break;
    default:
        return false;
    }
    x->rex = 0; /* counts only right before the opcode */
    c->at++;
    return true;
}

static void find_sizes(struct insn_x86 *x, bool long_mode)
{
    x->opsize = x->rex & 8 ? 8 : x->opsize_prefix ? 2 : 4;
    if (long_mode)
        x->addrsize = x->addrsize_prefix ? 4 : 8;
    else
        x->addrsize = x->addrsize_prefix ? 2 : 4;
}

/* Whether c4, c5, 62 or 8f begins a prefix here, not an instruction of old. */
static bool is_vex(const struct cursor *c, uint8_t byte, bool long_mode)
{
    if (byte == 0x8f) /* XOP, whose maps begin with 8; pop has 0 in these bits */
        return (peek(c) & 0x1f) >= 8;
    if (byte != 0xc4 && byte != 0xc5 && byte != 0x62)
        return false;
    return long_mode || (peek(c) & 0xc0) == 0xc0;
}

static int vex_attributes(unsigned map, uint8_t opcode)
{
    switch (map) {
    case 1:
        if (opcode == 0x77) /* vzeroupper, vzeroall */
            return 0;
        if ((opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 ||
            (opcode >= 0xc4 && opcode <= 0xc6))
            return X86_MODRM | X86_IMM8;
        return X86_MODRM;
    case 2:
        return X86_MODRM;
    case 3:
        return X86_MODRM | X86_IMM8;
    default:
        return -EILSEQ;
    }
}

static int evex_attributes(unsigned map, uint8_t opcode)
{
    if (map == 5 || map == 6) /* half precision */
        return X86_MODRM;
    if (map == 1 && opcode == 0x77)
        return -EILSEQ;
    return vex_attributes(map, opcode);
}

static int xop_attributes(unsigned map)
{
    switch (map) {
    case 8:
        return X86_MODRM | X86_IMM8;
    case 9:
        return X86_MODRM;
    case 10:
        return X86_MODRM | X86_IMMZ;
    default:
        return -EILSEQ;
    }
}

/* The rest of a VEX, EVEX or XOP prefix and the opcode; returns the attributes. */
static int take_vex(struct cursor *c, struct insn_x86 *x, uint8_t first)
{
    uint8_t p0 = take(c), p1;

    if (x->rex || x->lock || x->repeat || x->opsize_prefix)
        return -EILSEQ;
    x->map = X86_MAP_VEX;
    x->opsize = 4; /* so that an immediate has 4 bytes */
    if (first == 0xc5) {
        x->opcode = take(c);
        return vex_attributes(1, x->opcode);
    }
    p1 = take(c);
    if (first == 0x62) {
        (void)take(c);
        x->opcode = take(c);
        /* Bits that are fixed; with APX they are not, which is not known here. */
        return p0 & 8 || !(p1 & 4) ? -EILSEQ : evex_attributes(p0 & 7, x->opcode);
    }
    x->opcode = take(c);
    return first == 0xc4 ? vex_attributes(p0 & 0x1f, x->opcode) : xop_attributes(p0 & 0x1f);
}

static int take_opcode(struct cursor *c, struct insn_x86 *x, bool long_mode)
{
    uint8_t byte = take(c);
    unsigned attributes;

    if (is_vex(c, byte, long_mode)) {
        x->vex_at = (uint8_t)(c->at - 1);
        return take_vex(c, x, byte);
    }
    x->map = X86_MAP_ONE;
    if (byte == 0x0f) {
        x->map = X86_MAP_0F;
        byte = take(c);
        if (byte == 0x38 || byte == 0x3a) {
            x->map = byte == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A;
            byte = take(c);
        }
    }
    x->opcode = byte;
    attributes = x86_attributes(x->map, byte);
    if (attributes & X86_UNKNOWN || (long_mode && attributes & X86_ONLY_32))
        return -EILSEQ;
    return (int)attributes;
}

static void take_sib(struct cursor *c, struct insn_x86 *x)
{
    uint8_t sib = take(c);

    x->scale = sib >> 6;
    x->index = (uint8_t)((sib >> 3 & 7) | (x->rex & 2 ? 8 : 0));
    if (x->index == RSP)
        x->index = X86_NO_REGISTER;
    x->base = (uint8_t)((sib & 7) | (x->rex & 1 ? 8 : 0));
    if (x->mod == 0 && (sib & 7) == 5) {
        x->base = X86_NO_REGISTER;
        x->disp = take_signed(c, 4);
    }
}

static void take_memory_16(struct cursor *c, struct insn_x86 *x)
{
    if (x->mod == 0 && x->rm == 6)
        x->disp = take_signed(c, 2);
    else if (x->mod != 0)
        x->disp = take_signed(c, x->mod);
}

static void take_memory(struct cursor *c, struct insn_x86 *x, bool long_mode)
{
    if ((x->rm & 7) == 4)
        take_sib(c, x);
    else if ((x->rm & 7) == 5 && x->mod == 0) {
        x->ip_relative = long_mode;
        x->disp = take_signed(c, 4);
    } else
        x->base = x->rm;

    if (x->mod == 1)
        x->disp = take_signed(c, 1);
    else if (x->mod == 2)
        x->disp = take_signed(c, 4);
}

static void take_modrm(struct cursor *c, struct insn_x86 *x, bool long_mode)
{
    uint8_t modrm;

    x->has_modrm = true;
    x->modrm_at = (uint8_t)c->at;
    modrm = take(c);
    x->mod = modrm >> 6;
    x->reg = (uint8_t)((modrm >> 3 & 7) | (x->rex & 4 ? 8 : 0));
    x->rm = (uint8_t)((modrm & 7) | (x->rex & 1 ? 8 : 0));
    if (x->map == X86_MAP_0F && x->opcode >= 0x20 && x->opcode <= 0x23)
        x->mod = 3; /* control and debug registers: always one register */
    if (x->mod == 3)
        return;
    if (x->addrsize == 2)
        take_memory_16(c, x);
    else
        take_memory(c, x, long_mode);
}

/* What ModRM has a say in: the immediates it adds, the groups it leaves undefined. */
static int refine(const struct insn_x86 *x, unsigned *attributes)
{
    unsigned reg = x->reg & 7;
    bool is_tsx = reg == 7 && x->mod == 3 && (x->rm & 7) == 0; /* xabort, xbegin */

    if (x->map == X86_MAP_0F) {
        /* extrq, insertq: two bytes; vmread has none */
        if (x->opcode == 0x78 && (x->opsize_prefix || x->repeat == 0xf2))
            *attributes |= X86_IMM16;
        /* without the prefix of popcnt it was an Itanium's */
        return x->opcode == 0xb8 && x->repeat != 0xf3 ? -EILSEQ : 0;
    }
    if (x->map != X86_MAP_ONE)
        return 0;
    switch (x->opcode) {
    case 0x8f:
        return reg == 0 ? 0 : -EILSEQ;
    case 0xc6:
    case 0xc7:
        return reg == 0 || is_tsx ? 0 : -EILSEQ;
    case 0xf6:
    case 0xf7:
        if (reg <= 1)
            *attributes |= x->opcode == 0xf6 ? X86_IMM8 : X86_IMMZ;
        return 0;
    case 0xfe:
        return reg <= 1 ? 0 : -EILSEQ;
    case 0xff:
        return reg != 7 ? 0 : -EILSEQ;
    default:
        return 0;
    }
}

static int take_immediates(struct cursor *c, struct insn_x86 *x, unsigned attributes,
                           bool long_mode)
{
    unsigned z = x->opsize == 2 ? 2 : 4;

    /* Intel ignores the prefix here, AMD does not: how long is it? */
    if (attributes & X86_RELZ && long_mode && x->opsize == 2)
        return -EILSEQ;
    if (attributes & X86_IMM16)
        x->imm = take_signed(c, 2);
    if (attributes & (X86_IMMZ | X86_RELZ))
        x->imm = take_signed(c, z);
    if (attributes & X86_IMMV)
        x->imm = take_signed(c, x->opsize);
    if (attributes & X86_MOFFS)
        x->disp = take_signed(c, x->addrsize);
    if (attributes & X86_FAR)
        (void)take_signed(c, z + 2);
    if (attributes & X86_IMM8) {
        int64_t imm = take_signed(c, 1);

        if (!(attributes & X86_IMM16))
            x->imm = imm;
    }
    return 0;
}

int x86_decode(const uint8_t *bytes, size_t n, struct insn *ret)
{
    struct cursor c = {.bytes = bytes, .n = n < INSN_LENGTH_MAX ? n : INSN_LENGTH_MAX};
    struct insn_x86 x = {.base = X86_NO_REGISTER, .index = X86_NO_REGISTER};
    bool long_mode = ret->isa == INSN_X86_64;
    unsigned attributes;
    int r;

    while (take_prefix(&c, &x, long_mode))
        ;
    find_sizes(&x, long_mode);
    r = take_opcode(&c, &x, long_mode);
    if (r >= 0) {
        attributes = (unsigned)r;
        if (attributes & X86_MODRM)
            take_modrm(&c, &x, long_mode);
        r = refine(&x, &attributes);
        if (r == 0)
            r = take_immediates(&c, &x, attributes, long_mode);
    }
    /* What is missing comes first: of zeroes that were not there nothing follows. */
    if (c.short_of)
        return n < INSN_LENGTH_MAX ? -ENODATA : -EILSEQ;
    if (r < 0)
        return r;
    ret->length = (uint8_t)c.at;
    ret->class = attributes & X86_IN_PLACE ? INSN_IN_PLACE : INSN_DISPLACE;
    ret->x86 = x;
    return 0;
}
