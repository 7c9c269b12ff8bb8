/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/trace/insn.h"
#include "daemon/trace/macro.h"
#include "tests/unit/random.h"

/* Lengths, classes and copies, as the manuals have them; what the processor says of them is asked
 * in the tests beside this one. */

#define FROM UINT64_C(0x401000)
#define TO UINT64_C(0x7ffff7fc0000)
#define FUZZ_ROUNDS 1000000U

struct example {
    const char *bytes;
    size_t n;
    enum insn_class class;
};

#define E(bytes, class)                                                                            \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, class                                                            \
    }

static void assert_classes(enum insn_isa isa, unsigned flags, const struct example *e, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const uint8_t *bytes = (const uint8_t *)e[k].bytes;
        struct insn insn;
        int r = insn_decode(bytes, e[k].n, isa, flags, &insn);

        if (r < 0 || insn.length != e[k].n || insn.class != e[k].class)
            fail_msg("%zu: %02x %02x ...: %d, length %u, class %d", k, bytes[0], bytes[1], r,
                     insn.length, insn.class);
    }
}

static void classes_of_64_bits(void **state)
{
    static const struct example examples[] = {
        E("\x55", INSN_EMULATE),
        E("\x90", INSN_EMULATE),
        E("\x66\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", INSN_EMULATE),
        E("\xf3\x0f\x1e\xfa", INSN_EMULATE),
        E("\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", INSN_EMULATE),
        E("\xe8\x00\x00\x00\x00", INSN_EMULATE),
        E("\xc3", INSN_EMULATE),
        E("\x48\x01\x07", INSN_DISPLACE),         /* memory is read and written */
        E("\xf0\x48\x0f\xb1\x0f", INSN_DISPLACE), /* lock cmpxchg */
        E("\xf3\xa4", INSN_DISPLACE),             /* rep movsb */
        E("\x48\xa1\x01\x02\x03\x04\x05\x06\x07\x08", INSN_DISPLACE), /* mov of a whole address */
        E("\x67\xa1\x01\x02\x03\x04", INSN_DISPLACE),
        E("\xc8\x10\x00\x01", INSN_DISPLACE),             /* enter */
        E("\xf6\x05\x00\x00\x00\x00\x01", INSN_EMULATE),  /* testb $1,0(%rip) */
        E("\xf7\xe1", INSN_DISPLACE),                     /* mul */
        E("\x0f\xa2", INSN_DISPLACE),                     /* cpuid */
        E("\x0f\x31", INSN_DISPLACE),                     /* rdtsc */
        E("\x0f\x01\xf9", INSN_DISPLACE),                 /* rdtscp */
        E("\x0f\x01\xd0", INSN_DISPLACE),                 /* xgetbv */
        E("\xc5\xf8\x77", INSN_DISPLACE),                 /* vzeroupper */
        E("\xc5\xfd\x6f\x07", INSN_DISPLACE),             /* vmovdqa */
        E("\xc5\xe9\x73\xd9\x04", INSN_DISPLACE),         /* vpsrldq */
        E("\xc5\xe9\x70\xd9\x04", INSN_DISPLACE),         /* vpshufd */
        E("\xc5\xe8\xc2\xd9\x04", INSN_DISPLACE),         /* vcmpps */
        E("\xc4\xe3\x7d\x19\xc1\x01", INSN_DISPLACE),     /* vextractf128 */
        E("\x62\xf1\x7c\x48\x10\x47\x01", INSN_DISPLACE), /* vmovups of EVEX */
        E("\x62\xf3\x7d\x48\x3f\xc1\x05", INSN_DISPLACE),
        E("\x8f\xe9\x78\x01\xc8", INSN_DISPLACE), /* XOP */
        E("\x0f\x0f\xc1\x9e", INSN_DISPLACE),     /* 3DNow! */
        E("\x0f\x05", INSN_SYSCALL),
        E("\xcd\x80", INSN_SYSCALL),
        E("\xcd\x03", INSN_IN_PLACE),
        E("\xcc", INSN_IN_PLACE),
        E("\xf1", INSN_IN_PLACE),
        E("\xf4", INSN_IN_PLACE),
        E("\x0f\x0b", INSN_IN_PLACE),
        E("\x0f\xb9\xc0", INSN_IN_PLACE),
        E("\x48\xcf", INSN_IN_PLACE), /* iretq */
        E("\xcb", INSN_IN_PLACE),
        E("\xff\x18", INSN_IN_PLACE),                 /* a far call */
        E("\xff\x28", INSN_IN_PLACE),                 /* a far jump */
        E("\xc7\xf8\x00\x00\x00\x00", INSN_IN_PLACE), /* xbegin */
        E("\xc6\xf8\x01", INSN_IN_PLACE),             /* xabort */
        E("\x0f\x01\xd5", INSN_IN_PLACE),             /* xend */
        E("\x8e\xd0", INSN_IN_PLACE),                 /* mov to ss */
        E("\x0f\x34", INSN_IN_PLACE),                 /* sysenter of 32 bits */
        E("\x66\xc3", INSN_IN_PLACE),
        E("\x66\xff\xe0", INSN_IN_PLACE),
        E("\x66\xeb\x00", INSN_IN_PLACE),
    };

    assert_classes(INSN_X86_64, 0, examples, ARRAY_LENGTH(examples));
}

static void classes_of_32_bits(void **state)
{
    static const struct example examples[] = {
        E("\x40", INSN_EMULATE),                  /* inc */
        E("\x06", INSN_DISPLACE),                 /* push %es */
        E("\x60", INSN_DISPLACE),                 /* pusha */
        E("\xd4\x0a", INSN_DISPLACE),             /* aam */
        E("\x62\x08", INSN_DISPLACE),             /* bound */
        E("\xc5\x08", INSN_DISPLACE),             /* lds */
        E("\xc5\xf8\x77", INSN_DISPLACE),         /* vzeroupper */
        E("\x63\xc8", INSN_DISPLACE),             /* arpl */
        E("\x67\x8b\x06\x34\x12", INSN_DISPLACE), /* an address of 16 bits */
        E("\x67\x8b\x40\x12", INSN_DISPLACE),
        E("\x67\xa1\x34\x12", INSN_DISPLACE),
        E("\x65\xa1\x14\x00\x00\x00", INSN_DISPLACE),
        E("\x65\x8b\x0d\x14\x00\x00\x00", INSN_DISPLACE), /* the base of gs is in a table */
        E("\x3e\x8b\x00", INSN_DISPLACE),
        E("\x9a\x01\x02\x03\x04\x05\x06", INSN_IN_PLACE), /* a far call */
        E("\x66\xea\x01\x02\x03\x04", INSN_IN_PLACE),
        E("\x66\xe8\x00\x00", INSN_IN_PLACE),
        E("\x66\x0f\x84\x00\x00", INSN_IN_PLACE),
        E("\x17", INSN_IN_PLACE), /* pop %ss */
        E("\xce", INSN_IN_PLACE), /* into */
        E("\xcd\x80", INSN_SYSCALL),
        E("\x0f\x34", INSN_SYSCALL),
        E("\x0f\x05", INSN_SYSCALL),
    };

    assert_classes(INSN_I386, 0, examples, ARRAY_LENGTH(examples));
}

static void calls_under_a_shadow_stack_stay_in_place(void **state)
{
    static const struct example examples[] = {
        E("\xe8\x00\x00\x00\x00", INSN_IN_PLACE),
        E("\xff\xd0", INSN_IN_PLACE),
        E("\xff\x15\x00\x00\x00\x00", INSN_IN_PLACE),
        E("\xc3", INSN_DISPLACE),
        E("\xff\xe0", INSN_EMULATE),
        E("\x55", INSN_EMULATE),
    };

    assert_classes(INSN_X86_64, INSN_SHADOW_STACK, examples, ARRAY_LENGTH(examples));
}

static void assert_unknown(enum insn_isa isa, const char *bytes, size_t n)
{
    struct insn insn = {.length = 77};
    uint8_t padded[INSN_LENGTH_MAX] = {};

    memcpy(padded, bytes, n);
    assert_int_equal(insn_decode(padded, sizeof(padded), isa, 0, &insn), -EILSEQ);
    assert_int_equal(insn.length, 77);
}

#define UNKNOWN(isa, bytes) assert_unknown(isa, bytes, sizeof(bytes) - 1)

static void what_is_no_instruction_is_said_to_be_none(void **state)
{
    UNKNOWN(INSN_X86_64, "\x06");
    UNKNOWN(INSN_X86_64, "\x82\xc0\x01");
    UNKNOWN(INSN_X86_64, "\xd5\x10\x50");         /* REX2 of APX */
    UNKNOWN(INSN_X86_64, "\x62\xf4\x7c\x08\x01"); /* EVEX of APX */
    UNKNOWN(INSN_X86_64, "\x62\xf8\x7c\x08\x01");
    UNKNOWN(INSN_X86_64, "\x62\xf1\x78\x08\x10"); /* a fixed bit */
    UNKNOWN(INSN_X86_64, "\x66\xc5\xf8\x77");     /* prefixes before VEX */
    UNKNOWN(INSN_X86_64, "\x48\xc5\xf8\x77");
    UNKNOWN(INSN_X86_64, "\xc4\xe7\x7b\xf8\xc0");     /* a map of VEX */
    UNKNOWN(INSN_X86_64, "\x66\xe8\x00\x00\x00\x00"); /* long on Intel's, short on AMD's */
    UNKNOWN(INSN_X86_64, "\x0f\x04");
    UNKNOWN(INSN_X86_64, "\x0f\xb8\xc0");
    UNKNOWN(INSN_X86_64, "\xfe\xd0");
    UNKNOWN(INSN_X86_64, "\xff\xf8");
    UNKNOWN(INSN_X86_64, "\x8f\xe0");
    UNKNOWN(INSN_I386, "\x0f\x24\xc0");
}

static void more_than_fifteen_bytes_are_no_instruction(void **state)
{
    static const uint8_t prefixes[32] = {[0 ... 13] = 0x66, 0x90, [15 ... 31] = 0x66};
    struct insn insn;

    assert_int_equal(insn_decode(prefixes, sizeof(prefixes), INSN_X86_64, 0, &insn), 0);
    assert_int_equal(insn.length, 15);
    assert_int_equal(insn_decode(prefixes + 15, 17, INSN_X86_64, 0, &insn), -EILSEQ);
    /* 14 prefixes and a nop of three bytes */
    static const uint8_t longer[17] = {[0 ... 13] = 0x66, 0x0f, 0x1f, 0x00};

    assert_int_equal(insn_decode(longer, sizeof(longer), INSN_X86_64, 0, &insn), -EILSEQ);
}

static void cut_off_is_not_unknown(void **state)
{
    static const uint8_t whole[] = {0x48, 0x81, 0x84, 0x24, 1, 2, 3, 4, 5, 6, 7, 8};
    struct insn insn;

    for (size_t n = 0; n < sizeof(whole); n++)
        assert_int_equal(insn_decode(whole, n, INSN_X86_64, 0, &insn), -ENODATA);
    assert_int_equal(insn_decode(whole, sizeof(whole), INSN_X86_64, 0, &insn), 0);
    assert_int_equal(insn.length, sizeof(whole));
}

static void displace(const char *bytes, size_t n, struct insn_copy *ret)
{
    struct insn insn;

    assert_int_equal(insn_decode((const uint8_t *)bytes, n, INSN_X86_64, 0, &insn), 0);
    assert_int_equal(insn_displace(&insn, (const uint8_t *)bytes, FROM, TO, ret), 1);
    assert_int_equal(ret->length, n);
}

static void copy_points_at_what_the_original_does(void **state)
{
    struct insn_cpu cpu = {.ip = FROM, .regs = {[RSI] = 1234}}, before = cpu;
    struct insn_memory store;
    struct insn_copy copy;

    displace("\x4d\x8b\x05\x01\x02\x03\x04", 7, &copy); /* mov to r8, with a useless bit */
    assert_memory_equal(copy.bytes, "\x4c\x8b\x86\x01\x02\x03\x04", 7);
    insn_enter(&copy, &cpu);
    assert_int_equal(cpu.ip, TO);
    assert_int_equal(cpu.regs[RSI], FROM + 7);
    cpu.ip += 7;
    assert_int_equal(insn_leave(&copy, &cpu, &store), 1);
    before.ip = FROM + 7;
    assert_memory_equal(&cpu, &before, sizeof(cpu));
    assert_int_equal(store.size, 0);
}

static void copy_that_was_not_executed_left_no_trace(void **state)
{
    struct insn_cpu cpu = {.ip = FROM, .regs = {[RSI] = 1234}}, before = cpu;
    struct insn_memory store;
    struct insn_copy copy;

    displace("\xff\x15\x01\x02\x03\x04", 6, &copy);
    insn_enter(&copy, &cpu);
    assert_int_equal(insn_leave(&copy, &cpu, &store), 0);
    assert_memory_equal(&cpu, &before, sizeof(cpu));
    assert_int_equal(store.size, 0);
}

static void call_from_a_copy_returns_to_the_original(void **state)
{
    struct insn_cpu cpu = {.ip = FROM, .regs = {[RSP] = 0x8000}};
    struct insn_memory store;
    struct insn_copy copy;

    displace("\xe8\x00\x01\x00\x00", 5, &copy);
    insn_enter(&copy, &cpu);
    cpu.ip = TO + 5 + 0x100;
    cpu.regs[RSP] -= 8;
    assert_int_equal(insn_leave(&copy, &cpu, &store), 1);
    assert_int_equal(cpu.ip, FROM + 5 + 0x100);
    assert_int_equal(store.address, 0x7ff8);
    assert_int_equal(store.size, 8);
    assert_int_equal(store.value, FROM + 5);
}

static void assert_no_copy(const char *bytes, size_t n, uint64_t to)
{
    struct insn_copy copy = {.length = 77};
    struct insn insn;

    assert_int_equal(insn_decode((const uint8_t *)bytes, n, INSN_X86_64, 0, &insn), 0);
    assert_int_equal(insn_displace(&insn, (const uint8_t *)bytes, FROM, to, &copy), 0);
    assert_int_equal(copy.length, 77);
}

static void what_cannot_be_displaced_has_no_copy(void **state)
{
    assert_no_copy("\xcc", 1, TO);
    assert_no_copy("\x0f\x0b", 2, TO);
    assert_no_copy("\x9c", 1, TO); /* pushf: pushes the trap flag of the step */
    /* From there the branch would leave the address space. */
    assert_no_copy("\xe9\x00\x00\x00\x7f", 5, TO);
    assert_no_copy("\xe9\x00\x00\x00\x80", 5, 0x1000);
}

/* Whatever a program has there: nothing is read behind it, no length is above the longest, and all
 * that follows from it can be asked for. */
static void any_bytes(void **state)
{
    struct random r = {.x = 987654321};

    for (unsigned round = 0; round < FUZZ_ROUNDS; round++) {
        size_t n = random_below(&r, 17);
        /* Of the right size on the heap, so that ASan sees what is behind it. */
        uint8_t *bytes = malloc(n ? n : 1);
        enum insn_isa isa = random_below(&r, 2) ? INSN_X86_64 : INSN_I386;
        struct insn_memory load, store;
        struct insn_cpu cpu = {.regs = {1, 2, 3, 4}};
        struct insn_copy copy;
        struct insn insn;

        assert_non_null(bytes);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)random_below(&r, 256);
        if (insn_decode(bytes, n, isa, random_below(&r, 2), &insn) == 0) {
            assert_in_range(insn.length, 1, n < INSN_LENGTH_MAX ? n : INSN_LENGTH_MAX);
            if (insn_load(&insn, &cpu, &load))
                (void)insn_emulate(&insn, &cpu, &load, &store);
            if (insn_displace(&insn, bytes, FROM, TO, &copy)) {
                insn_enter(&copy, &cpu);
                (void)insn_leave(&copy, &cpu, &store);
            }
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_of_64_bits),
        cmocka_unit_test(classes_of_32_bits),
        cmocka_unit_test(calls_under_a_shadow_stack_stay_in_place),
        cmocka_unit_test(what_is_no_instruction_is_said_to_be_none),
        cmocka_unit_test(more_than_fifteen_bytes_are_no_instruction),
        cmocka_unit_test(cut_off_is_not_unknown),
        cmocka_unit_test(copy_points_at_what_the_original_does),
        cmocka_unit_test(copy_that_was_not_executed_left_no_trace),
        cmocka_unit_test(call_from_a_copy_returns_to_the_original),
        cmocka_unit_test(what_cannot_be_displaced_has_no_copy),
        cmocka_unit_test(any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
