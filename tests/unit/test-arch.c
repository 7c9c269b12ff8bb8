/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>

#include "daemon/trace/arch.h"
#include "daemon/trace/macro.h"

/* The tables of all machines, on whichever this is: bytes as a kernel lays them out, with the
 * offsets of its headers written out. */

static const struct arch *const all[] = {&arch_x86_64, &arch_i386, &arch_aarch64};

/* No processor's: AVX lies behind ZMM_HIGH, and there are gaps. */
static const struct arch_xsave made_up = {
    .features =
        1 << ARCH_XSAVE_X87 | 1 << ARCH_XSAVE_SSE | 1 << ARCH_XSAVE_AVX | 1 << ARCH_XSAVE_ZMM_HIGH,
    .components =
        {
            [ARCH_XSAVE_ZMM_HIGH] = {.offset = 640, .size = 512},
            [ARCH_XSAVE_AVX] = {.offset = 1216, .size = 256},
        },
};
enum { MADE_UP_SIZE = 1472, GARBAGE = 0xa5 };

struct area {
    uint8_t bytes[MADE_UP_SIZE];
};

static void area_init(struct area *a, uint64_t present)
{
    memset(a->bytes, GARBAGE, sizeof(a->bytes));
    memcpy(a->bytes + 512, &present, sizeof(present));
}

static uint64_t area_present(const struct area *a)
{
    uint64_t bits;

    memcpy(&bits, a->bytes + 512, sizeof(bits));
    return bits;
}

static const struct arch_register *find(const struct arch *a, const char *name)
{
    const struct arch_register *r = arch_find_register(a, name);

    assert_non_null(r);
    assert_string_equal(r->name, name);
    return r;
}

static int get(const struct area *a, const char *name, void *ret, size_t size)
{
    return arch_get(&arch_x86_64, find(&arch_x86_64, name), &made_up, a->bytes, sizeof(a->bytes),
                    ret, size);
}

static int put(struct area *a, const char *name, const void *value, size_t size)
{
    return arch_put(&arch_x86_64, find(&arch_x86_64, name), &made_up, a->bytes, sizeof(a->bytes),
                    value, size);
}

static uint64_t number(const struct arch *a, const char *name, const void *set, size_t set_size)
{
    const struct arch_register *r = find(a, name);
    uint64_t value = 0;

    assert_true(r->size <= sizeof(value));
    assert_int_equal(arch_get(a, r, &made_up, set, set_size, &value, r->size), 0);
    return value;
}

static bool is_filled(const uint8_t *bytes, uint8_t with, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != with)
            return false;
    return true;
}

/* ---- tables -------------------------------------------------------------------------------- */

static void every_name_is_found_and_means_one_register(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        for (size_t j = 0; j < all[i]->n_registers; j++)
            assert_true(arch_find_register(all[i], all[i]->registers[j].name) ==
                        &all[i]->registers[j]);
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        assert_null(arch_find_register(all[i], ""));
        assert_null(arch_find_register(all[i], "rax "));
        assert_int_equal(arch_find_set(all[i], "general"), ARCH_GENERAL);
        assert_int_equal(arch_find_set(all[i], "nonsense"), -ENOENT);
    }
}

static void every_part_lies_in_its_set(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        for (size_t j = 0; j < all[i]->n_registers; j++) {
            const struct arch_register *r = &all[i]->registers[j];
            size_t sum = 0;

            assert_true(r->set < all[i]->n_sets);
            assert_true(r->size > 0 && r->size <= ARCH_REGISTER_SIZE_MAX);
            for (size_t k = 0; k < ARCH_PARTS_MAX; k++) {
                assert_true(r->parts[k].offset + r->parts[k].size <= all[i]->sets[r->set].size_max);
                sum += r->parts[k].size;
            }
            assert_int_equal(sum, r->size);
        }
}

/* What an XSAVE area has at fixed places is one piece. */
static unsigned piece_of(const struct arch *a, const struct arch_register *r, size_t part)
{
    unsigned component = r->parts[part].component;

    if (!a->sets[r->set].is_xsave || component == ARCH_XSAVE_SSE || component == ARCH_XSAVE_MXCSR)
        component = 0;
    return r->set << 8 | component;
}

static bool clash(const struct arch_part *a, const struct arch_part *b)
{
    bool same = a->offset == b->offset && a->size == b->size;

    return a->size > 0 && b->size > 0 && !same && a->offset < b->offset + b->size &&
           b->offset < a->offset + a->size;
}

/* The lower half of ymm0 is xmm0, and that is the only way in which two registers share bytes. */
static void parts_are_the_same_or_lie_apart(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        for (size_t j = 0; j < all[i]->n_registers; j++)
            for (size_t k = 0; k < j; k++)
                for (size_t p = 0; p < ARCH_PARTS_MAX * ARCH_PARTS_MAX; p++) {
                    const struct arch_register *one = &all[i]->registers[j];
                    const struct arch_register *other = &all[i]->registers[k];
                    size_t a = p / ARCH_PARTS_MAX, b = p % ARCH_PARTS_MAX;

                    if (piece_of(all[i], one, a) == piece_of(all[i], other, b))
                        assert_false(clash(&one->parts[a], &other->parts[b]));
                }
}

static void general_registers_fill_their_set(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        uint8_t seen[512] = {0};

        for (size_t j = 0; j < all[i]->n_registers; j++) {
            const struct arch_register *r = &all[i]->registers[j];

            if (r->set == ARCH_GENERAL)
                memset(seen + r->parts[0].offset, 1, r->size);
        }
        assert_true(is_filled(seen, 1, all[i]->general_size));
        assert_int_equal(seen[all[i]->general_size], 0);
    }
}

static void machines_are_told_apart_by_size(void **state)
{
    assert_true(arch_by_general_size(216) == &arch_x86_64);
    assert_true(arch_by_general_size(68) == &arch_i386);
    assert_true(arch_by_general_size(272) == &arch_aarch64);
    assert_null(arch_by_general_size(0));
    assert_null(arch_by_general_size(72)); /* arm, under an aarch64 kernel */
}

static void breakpoints_are_the_machines_own(void **state)
{
    assert_int_equal(arch_x86_64.breakpoint_size, 1);
    assert_int_equal(arch_x86_64.red_zone, 128);
    assert_int_equal(arch_x86_64.breakpoint[0], 0xcc);
    assert_int_equal(arch_x86_64.breakpoint_behind, 1);
    assert_int_equal(arch_i386.breakpoint_size, 1);
    assert_int_equal(arch_i386.breakpoint[0], 0xcc);
    assert_int_equal(arch_i386.breakpoint_behind, 1);
    assert_int_equal(arch_aarch64.breakpoint_size, 4);
    assert_memory_equal(arch_aarch64.breakpoint, "\x00\x00\x20\xd4", 4);
    assert_int_equal(arch_aarch64.breakpoint_behind, 0);
}

/* ---- layouts, byte by byte ----------------------------------------------------------------- */

static void x86_64_general(void **state)
{
    /* struct user_regs_struct */
    static const uint8_t set[216] = {
        [0] = 0x15,   [7] = 0x80,   /* r15 */
        [24] = 0x12,                /* r12 */
        [32] = 0xb9,                /* rbp */
        [40] = 0xb0,                /* rbx */
        [72] = 0x08,                /* r8 */
        [80] = 0xa0,  [81] = 0x0a,  /* rax */
        [96] = 0xd0,                /* rdx */
        [112] = 0xd1,               /* rdi */
        [120] = 0x3b,               /* orig_rax */
        [128] = 0x10, [132] = 0x55, /* rip */
        [136] = 0x33,               /* cs */
        [144] = 0x46, [145] = 0x02, /* eflags */
        [152] = 0xf0, [157] = 0x7f, /* rsp */
        [160] = 0x2b,               /* ss */
        [168] = 0xfb,               /* fs_base */
        [176] = 0x9b,               /* gs_base */
        [208] = 0x65,               /* gs */
    };
    const struct {
        const char *name;
        uint64_t value;
    } expected[] = {
        {"r15", 0x8000000000000015},
        {"r14", 0},
        {"r12", 0x12},
        {"rbp", 0xb9},
        {"rbx", 0xb0},
        {"r8", 8},
        {"rax", 0xaa0},
        {"rdx", 0xd0},
        {"rdi", 0xd1},
        {"orig_rax", 0x3b},
        {"rip", 0x5500000010},
        {"cs", 0x33},
        {"eflags", 0x246},
        {"rsp", 0x7f00000000f0},
        {"ss", 0x2b},
        {"fs_base", 0xfb},
        {"gs_base", 0x9b},
        {"gs", 0x65},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++)
        assert_int_equal(number(&arch_x86_64, expected[i].name, set, sizeof(set)),
                         expected[i].value);
    assert_int_equal(arch_get_role(&arch_x86_64, ARCH_PC, set), 0x5500000010);
    assert_int_equal(arch_get_role(&arch_x86_64, ARCH_SP, set), 0x7f00000000f0);
    assert_int_equal(arch_get_role(&arch_x86_64, ARCH_FLAGS, set), 0x246);
    assert_int_equal(arch_get_role(&arch_x86_64, ARCH_SYSCALL, set), 0x3b);
    assert_int_equal(arch_get_role(&arch_x86_64, ARCH_RESULT, set), 0xaa0);
}

static void i386_general(void **state)
{
    /* struct user_regs_struct32 */
    static const uint8_t set[68] = {
        [0] = 0xb0,  [4] = 0xc0,  [8] = 0xd0,  [12] = 0x51, /* ebx, ecx, edx, esi */
        [16] = 0xd1, [20] = 0xb9, [24] = 0xa0, [27] = 0x80, /* edi, ebp, eax */
        [28] = 0x2b, [32] = 0x2c, [36] = 0x64, [40] = 0x63, /* ds, es, fs, gs */
        [44] = 0x0b, [48] = 0x10, [51] = 0xf7,              /* orig_eax, eip */
        [52] = 0x23, [56] = 0x46, [57] = 0x02,              /* cs, eflags */
        [60] = 0xf0, [63] = 0xff, [64] = 0x2d,              /* esp, ss */
    };
    const struct {
        const char *name;
        uint64_t value;
    } expected[] = {
        {"ebx", 0xb0},       {"ecx", 0xc0}, {"edx", 0xd0},       {"esi", 0x51},
        {"edi", 0xd1},       {"ebp", 0xb9}, {"eax", 0x800000a0}, {"ds", 0x2b},
        {"es", 0x2c},        {"fs", 0x64},  {"gs", 0x63},        {"orig_eax", 0x0b},
        {"eip", 0xf7000010}, {"cs", 0x23},  {"eflags", 0x246},   {"esp", 0xff0000f0},
        {"ss", 0x2d},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++)
        assert_int_equal(number(&arch_i386, expected[i].name, set, sizeof(set)), expected[i].value);
    assert_int_equal(arch_get_role(&arch_i386, ARCH_PC, set), 0xf7000010);
    assert_int_equal(arch_get_role(&arch_i386, ARCH_SP, set), 0xff0000f0);
    assert_int_equal(arch_get_role(&arch_i386, ARCH_SYSCALL, set), 0x0b);
    assert_int_equal(arch_get_role(&arch_i386, ARCH_RESULT, set), 0x800000a0);
    assert_null(arch_find_register(&arch_i386, "xmm8"));
    assert_null(arch_find_register(&arch_i386, "rax"));
}

static void aarch64_general(void **state)
{
    /* struct user_pt_regs */
    static const uint8_t set[272] = {
        [0] = 0x10,   [7] = 0xff,   /* x0 */
        [64] = 0x5d,                /* x8 */
        [232] = 0x29, [240] = 0x30, /* x29, x30 */
        [248] = 0xf0, [253] = 0xff, /* sp */
        [256] = 0x40, [261] = 0xaa, /* pc */
        [267] = 0x60,               /* pstate */
    };

    assert_int_equal(number(&arch_aarch64, "x0", set, sizeof(set)), 0xff00000000000010);
    assert_int_equal(number(&arch_aarch64, "x8", set, sizeof(set)), 0x5d);
    assert_int_equal(number(&arch_aarch64, "x29", set, sizeof(set)), 0x29);
    assert_int_equal(number(&arch_aarch64, "x30", set, sizeof(set)), 0x30);
    assert_int_equal(number(&arch_aarch64, "sp", set, sizeof(set)), 0xff00000000f0);
    assert_int_equal(number(&arch_aarch64, "pc", set, sizeof(set)), 0xaa0000000040);
    assert_int_equal(number(&arch_aarch64, "cpsr", set, sizeof(set)), 0x60000000);
    assert_null(arch_find_register(&arch_aarch64, "x31"));
    assert_int_equal(arch_get_role(&arch_aarch64, ARCH_PC, set), 0xaa0000000040);
    assert_int_equal(arch_get_role(&arch_aarch64, ARCH_SP, set), 0xff00000000f0);
    assert_int_equal(arch_get_role(&arch_aarch64, ARCH_FLAGS, set), 0x60000000);
    assert_int_equal(arch_get_role(&arch_aarch64, ARCH_RESULT, set), 0xff00000000000010);
}

static void aarch64_vectors(void **state)
{
    /* struct user_fpsimd_state */
    static const uint8_t set[528] = {
        [0] = 0x01, [15] = 0x0f, [496] = 0x31, [511] = 0x3f, [512] = 0x10, [518] = 0xc0,
    };
    uint8_t v[16];

    assert_int_equal(find(&arch_aarch64, "v31")->type, ARCH_TYPE_VECTOR);
    assert_int_equal(
        arch_get(&arch_aarch64, find(&arch_aarch64, "v0"), NULL, set, sizeof(set), v, 16), 0);
    assert_memory_equal(v, "\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0f", 16);
    assert_int_equal(
        arch_get(&arch_aarch64, find(&arch_aarch64, "v31"), NULL, set, sizeof(set), v, 16), 0);
    assert_memory_equal(v, "\x31\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x3f", 16);
    assert_int_equal(number(&arch_aarch64, "fpsr", set, sizeof(set)), 0x10);
    assert_int_equal(number(&arch_aarch64, "fpcr", set, sizeof(set)), 0xc00000);
    assert_null(arch_find_register(&arch_aarch64, "v32"));
}

static void aarch64_other_sets(void **state)
{
    static const uint8_t tls[8] = {0x40, [5] = 0xff};
    static const uint8_t call[4] = {0xff, 0xff, 0xff, 0xff};
    static const uint8_t masks[16] = {[6] = 0x7f, [14] = 0x3f};
    uint8_t changed[16] = {0};

    assert_int_equal(number(&arch_aarch64, "tpidr", tls, sizeof(tls)), 0xff0000000040);
    assert_int_equal(number(&arch_aarch64, "syscallno", call, sizeof(call)), 0xffffffff);
    assert_int_equal(arch_get_role(&arch_aarch64, ARCH_SYSCALL, call), 0xffffffff);
    assert_int_equal(number(&arch_aarch64, "pauth_cmask", masks, sizeof(masks)), 0x3f000000000000);
    assert_int_equal(arch_put(&arch_aarch64, find(&arch_aarch64, "pauth_dmask"), NULL, changed,
                              sizeof(changed), masks, 8),
                     -EPERM);
    assert_true(is_filled(changed, 0, sizeof(changed)));
}

static void notes_are_the_kernels(void **state)
{
    assert_int_equal(arch_x86_64.sets[arch_find_set(&arch_x86_64, "xstate")].note, 0x202);
    assert_int_equal(arch_i386.sets[arch_find_set(&arch_i386, "tls")].note, 0x200);
    assert_int_equal(arch_aarch64.sets[arch_find_set(&arch_aarch64, "tls")].note, 0x401);
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        assert_int_equal(all[i]->sets[arch_find_set(all[i], "general")].note, 1);
        assert_int_equal(all[i]->sets[arch_find_set(all[i], "fp")].note, 2);
    }
}

static void a_put_changes_its_register_alone(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(all); i++)
        for (size_t j = 0; j < all[i]->n_registers; j++) {
            const struct arch_register *r = &all[i]->registers[j];
            uint8_t set[1024], value[ARCH_REGISTER_SIZE_MAX], got[ARCH_REGISTER_SIZE_MAX];
            size_t changed = 0;

            if (all[i]->sets[r->set].is_xsave || r->read_only)
                continue;
            memset(set, 0, sizeof(set));
            memset(value, 0xff, sizeof(value));
            assert_int_equal(arch_put(all[i], r, NULL, set, sizeof(set), value, r->size), 0);
            for (size_t k = 0; k < sizeof(set); k++)
                changed += set[k] != 0;
            assert_int_equal(changed, r->size);
            assert_int_equal(arch_get(all[i], r, NULL, set, sizeof(set), got, r->size), 0);
            assert_memory_equal(got, value, r->size);
        }
}

static void a_value_of_another_size_is_refused(void **state)
{
    uint8_t set[512] = {0}, value[ARCH_REGISTER_SIZE_MAX] = {1};

    for (size_t i = 0; i < ARRAY_LENGTH(all); i++) {
        const struct arch_register *r = &all[i]->registers[0];

        assert_int_equal(arch_put(all[i], r, NULL, set, sizeof(set), value, r->size - 1), -EINVAL);
        assert_int_equal(arch_put(all[i], r, NULL, set, sizeof(set), value, r->size + 1), -EINVAL);
        assert_int_equal(arch_get(all[i], r, NULL, set, sizeof(set), value, 0), -EINVAL);
    }
    assert_true(is_filled(set, 0, sizeof(set)));
}

/* A kernel may know a set in an older, shorter form. */
static void a_register_beyond_the_set_is_not_supported(void **state)
{
    uint8_t masks[8] = {0}, value[8];

    assert_int_equal(number(&arch_aarch64, "pauth_dmask", masks, sizeof(masks)), 0);
    assert_int_equal(arch_get(&arch_aarch64, find(&arch_aarch64, "pauth_cmask"), NULL, masks,
                              sizeof(masks), value, 8),
                     -EOPNOTSUPP);
}

/* ---- XSAVE --------------------------------------------------------------------------------- */

static void x87_and_sse_lie_where_fxsave_puts_them(void **state)
{
    struct area a;
    uint8_t got[16];

    area_init(&a, 1 << ARCH_XSAVE_X87 | 1 << ARCH_XSAVE_SSE);
    memcpy(a.bytes, "\x7f\x02\x01\x38\xfe\x00\x10\x07", 8);
    memcpy(a.bytes + 24, "\xa0\x1f\x00\x00", 4);
    memcpy(a.bytes + 32 + 16 * 7, "0123456789", 10);
    memcpy(a.bytes + 160 + 16 * 15, "fifteenthxmm....", 16);
    assert_int_equal(number(&arch_x86_64, "fctrl", a.bytes, sizeof(a.bytes)), 0x27f);
    assert_int_equal(number(&arch_x86_64, "fstat", a.bytes, sizeof(a.bytes)), 0x3801);
    assert_int_equal(number(&arch_x86_64, "ftag", a.bytes, sizeof(a.bytes)), 0xfe);
    assert_int_equal(number(&arch_x86_64, "fop", a.bytes, sizeof(a.bytes)), 0x710);
    assert_int_equal(number(&arch_i386, "mxcsr", a.bytes, sizeof(a.bytes)), 0x1fa0);
    assert_int_equal(get(&a, "st7", got, 10), 0);
    assert_memory_equal(got, "0123456789", 10);
    assert_int_equal(get(&a, "xmm15", got, 16), 0);
    assert_memory_equal(got, "fifteenthxmm....", 16);
}

static void a_wide_register_is_put_together_from_its_parts(void **state)
{
    struct area a;
    uint8_t got[64];

    area_init(&a, made_up.features);
    memset(a.bytes + 160 + 16 * 3, 'l', 16);
    memset(a.bytes + 1216 + 16 * 3, 'm', 16);
    memset(a.bytes + 640 + 32 * 3, 'h', 32);
    assert_int_equal(get(&a, "ymm3", got, 32), 0);
    assert_memory_equal(got, "llllllllllllllllmmmmmmmmmmmmmmmm", 32);
    assert_int_equal(get(&a, "zmm3", got, 64), 0);
    assert_memory_equal(got, "llllllllllllllllmmmmmmmmmmmmmmmmhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
                        64);

    memset(got, 'x', sizeof(got));
    assert_int_equal(put(&a, "zmm3", got, 64), 0);
    assert_true(is_filled(a.bytes + 160 + 16 * 3, 'x', 16));
    assert_true(is_filled(a.bytes + 1216 + 16 * 3, 'x', 16));
    assert_true(is_filled(a.bytes + 640 + 32 * 3, 'x', 32));
    assert_true(is_filled(a.bytes + 160 + 16 * 4, GARBAGE, 16 * 12));
    assert_true(is_filled(a.bytes + 1216 + 16 * 4, GARBAGE, 16 * 12));
}

static void what_is_absent_has_its_initial_value(void **state)
{
    struct area a;
    uint8_t got[64];

    area_init(&a, 0);
    assert_int_equal(get(&a, "zmm9", got, 64), 0);
    assert_true(is_filled(got, 0, 64));
    assert_int_equal(get(&a, "st0", got, 10), 0);
    assert_true(is_filled(got, 0, 10));
    assert_int_equal(number(&arch_x86_64, "fctrl", a.bytes, sizeof(a.bytes)), 0x37f);
    assert_int_equal(number(&arch_x86_64, "fstat", a.bytes, sizeof(a.bytes)), 0);
    assert_int_equal(number(&arch_x86_64, "mxcsr", a.bytes, sizeof(a.bytes)), 0x1f80);

    area_init(&a, 1 << ARCH_XSAVE_SSE);
    assert_int_equal(get(&a, "ymm9", got, 32), 0);
    assert_true(is_filled(got, GARBAGE, 16));
    assert_true(is_filled(got + 16, 0, 16));
}

static void mxcsr_is_there_with_avx_alone(void **state)
{
    struct area a;

    area_init(&a, 1 << ARCH_XSAVE_AVX);
    assert_int_equal(number(&arch_x86_64, "mxcsr", a.bytes, sizeof(a.bytes)), 0xa5a5a5a5);
    assert_int_equal(put(&a, "xmm0", "................", 16), 0);
    assert_int_equal(number(&arch_x86_64, "mxcsr", a.bytes, sizeof(a.bytes)), 0xa5a5a5a5);
}

static void a_write_makes_a_component_present_and_the_rest_of_it_initial(void **state)
{
    struct area a;
    uint8_t got[32];

    area_init(&a, 0);
    memset(got, 'y', sizeof(got));
    assert_int_equal(put(&a, "ymm2", got, 32), 0);
    assert_int_equal(area_present(&a), 1 << ARCH_XSAVE_SSE | 1 << ARCH_XSAVE_AVX);
    assert_int_equal(get(&a, "ymm2", got, 32), 0);
    assert_true(is_filled(got, 'y', 32));
    assert_int_equal(get(&a, "ymm1", got, 32), 0);
    assert_true(is_filled(got, 0, 32));
    assert_int_equal(get(&a, "ymm15", got, 32), 0);
    assert_true(is_filled(got, 0, 32));
    assert_int_equal(number(&arch_x86_64, "mxcsr", a.bytes, sizeof(a.bytes)), 0x1f80);
    assert_true(is_filled(a.bytes + 640, GARBAGE, 512));

    assert_int_equal(put(&a, "fstat", "\x00\x38", 2), 0);
    assert_int_equal(area_present(&a), 7);
    assert_int_equal(number(&arch_x86_64, "fctrl", a.bytes, sizeof(a.bytes)), 0x37f);
    assert_int_equal(number(&arch_x86_64, "fstat", a.bytes, sizeof(a.bytes)), 0x3800);
    assert_int_equal(number(&arch_x86_64, "fooff", a.bytes, sizeof(a.bytes)), 0);
    assert_true(is_filled(a.bytes + 32, 0, 128));
}

static void a_write_of_mxcsr_makes_sse_present(void **state)
{
    struct area a;
    uint8_t got[16];

    area_init(&a, 0);
    assert_int_equal(put(&a, "mxcsr", "\xa0\x1f\x00\x00", 4), 0);
    assert_int_equal(area_present(&a), 1 << ARCH_XSAVE_SSE);
    assert_int_equal(number(&arch_x86_64, "mxcsr", a.bytes, sizeof(a.bytes)), 0x1fa0);
    assert_int_equal(get(&a, "xmm0", got, 16), 0);
    assert_true(is_filled(got, 0, 16));
}

static void what_the_processor_lacks_is_not_supported(void **state)
{
    static const struct arch_xsave beyond = {
        .features = 7, .components = {[ARCH_XSAVE_AVX] = {.offset = 1217, .size = 256}}};
    static const struct arch_xsave in_the_header = {
        .features = 7, .components = {[ARCH_XSAVE_AVX] = {.offset = 512, .size = 256}}};
    static const struct arch_xsave none;
    const struct arch_register *ymm = find(&arch_x86_64, "ymm0");
    uint8_t got[64];
    struct area a;

    area_init(&a, 7);
    assert_int_equal(get(&a, "k0", got, 8), -EOPNOTSUPP);
    assert_int_equal(get(&a, "zmm16", got, 64), -EOPNOTSUPP);
    assert_int_equal(put(&a, "pkru", got, 4), -EOPNOTSUPP);
    assert_int_equal(arch_get(&arch_x86_64, ymm, &beyond, a.bytes, sizeof(a.bytes), got, 32),
                     -EOPNOTSUPP);
    assert_int_equal(arch_put(&arch_x86_64, ymm, &in_the_header, a.bytes, sizeof(a.bytes), got, 32),
                     -EOPNOTSUPP);
    assert_int_equal(arch_get(&arch_x86_64, ymm, &none, a.bytes, sizeof(a.bytes), got, 32),
                     -EOPNOTSUPP);
    assert_int_equal(arch_get(&arch_x86_64, find(&arch_x86_64, "xmm0"), &none, a.bytes,
                              sizeof(a.bytes), got, 16),
                     0);
    assert_int_equal(
        arch_get(&arch_x86_64, find(&arch_x86_64, "xmm0"), &none, a.bytes, 512, got, 16),
        -EOPNOTSUPP);
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void auxv_tells_the_width(void **state)
{
    const Elf64_auxv_t wide[] = {{AT_SYSINFO_EHDR, {0x7ffff7fc1000}},
                                 {AT_HWCAP, {0x178bfbff}},
                                 {AT_PHENT, {56}},
                                 {AT_NULL, {0}}};
    const Elf32_auxv_t narrow[] = {{AT_SYSINFO, {0xf7fc5580}},
                                   {AT_SYSINFO_EHDR, {0xf7fc5000}},
                                   {AT_PHENT, {32}},
                                   {AT_NULL, {0}}};
    const Elf64_auxv_t odd[] = {{AT_PHENT, {7}}, {AT_NULL, {0}}};

#if defined(__x86_64__)
    assert_true(arch_by_auxv(wide, sizeof(wide)) == &arch_x86_64);
    assert_true(arch_by_auxv(narrow, sizeof(narrow)) == &arch_i386);
#elif defined(__aarch64__)
    assert_true(arch_by_auxv(wide, sizeof(wide)) == &arch_aarch64);
    assert_null(arch_by_auxv(narrow, sizeof(narrow)));
#endif
    assert_null(arch_by_auxv(odd, sizeof(odd)));
    assert_null(arch_by_auxv(NULL, 0));
    assert_null(arch_by_auxv(wide, sizeof(wide[0]) * 2 + 15)); /* cut short */
}

static void an_interrupted_call_is_known_by_its_result(void **state)
{
    uint8_t general[272] = {0};

    arch_put_role(&arch_x86_64, ARCH_RESULT, general, (uint64_t)-512);
    assert_true(arch_will_restart(&arch_x86_64, general));
    arch_put_role(&arch_x86_64, ARCH_SYSCALL, general, UINT64_MAX);
    assert_false(arch_will_restart(&arch_x86_64, general));
    arch_put_role(&arch_x86_64, ARCH_SYSCALL, general, 0);
    arch_put_role(&arch_x86_64, ARCH_RESULT, general, (uint64_t)-EINTR);
    assert_false(arch_will_restart(&arch_x86_64, general));

    memset(general, 0, sizeof(general));
    arch_put_role(&arch_i386, ARCH_RESULT, general, (uint32_t)-516);
    assert_true(arch_will_restart(&arch_i386, general));
    arch_put_role(&arch_i386, ARCH_SYSCALL, general, UINT64_MAX);
    assert_int_equal(arch_get_role(&arch_i386, ARCH_SYSCALL, general), UINT32_MAX);
    assert_int_equal(arch_get_role(&arch_i386, ARCH_PC, general), 0);
    assert_false(arch_will_restart(&arch_i386, general));

    memset(general, 0, sizeof(general));
    arch_put_role(&arch_aarch64, ARCH_RESULT, general, (uint64_t)-512);
    assert_false(arch_will_restart(&arch_aarch64, general));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_found_and_means_one_register),
        cmocka_unit_test(every_part_lies_in_its_set),
        cmocka_unit_test(parts_are_the_same_or_lie_apart),
        cmocka_unit_test(general_registers_fill_their_set),
        cmocka_unit_test(machines_are_told_apart_by_size),
        cmocka_unit_test(breakpoints_are_the_machines_own),
        cmocka_unit_test(x86_64_general),
        cmocka_unit_test(i386_general),
        cmocka_unit_test(aarch64_general),
        cmocka_unit_test(aarch64_vectors),
        cmocka_unit_test(aarch64_other_sets),
        cmocka_unit_test(notes_are_the_kernels),
        cmocka_unit_test(a_put_changes_its_register_alone),
        cmocka_unit_test(a_value_of_another_size_is_refused),
        cmocka_unit_test(a_register_beyond_the_set_is_not_supported),
        cmocka_unit_test(x87_and_sse_lie_where_fxsave_puts_them),
        cmocka_unit_test(a_wide_register_is_put_together_from_its_parts),
        cmocka_unit_test(what_is_absent_has_its_initial_value),
        cmocka_unit_test(mxcsr_is_there_with_avx_alone),
        cmocka_unit_test(a_write_makes_a_component_present_and_the_rest_of_it_initial),
        cmocka_unit_test(a_write_of_mxcsr_makes_sse_present),
        cmocka_unit_test(what_the_processor_lacks_is_not_supported),
        cmocka_unit_test(auxv_tells_the_width),
        cmocka_unit_test(an_interrupted_call_is_known_by_its_result),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
