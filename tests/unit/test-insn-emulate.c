/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/trace/insn-x86-flags.h"
#include "daemon/trace/macro.h"
#include "tests/unit/insn-fixture.h"

/* What is emulated is what this processor does: the same random registers, flags and memory for
 * both. Every number comes from the seed that a failure prints. */

#define STATES 300 /* of an instruction that is named here */
#define TRIES (100 * STATES)
#define RANDOM_STEPS 40000

struct example {
    const char *name;
    const char *bytes;
    size_t n;
};

#define E(name, bytes)                                                                             \
    {                                                                                              \
        name, bytes, sizeof(bytes) - 1                                                             \
    }

static const struct example long_examples[] = {
    E("nop", "\x90"),
    E("nop of two bytes", "\x66\x90"),
    E("nop of nine bytes", "\x66\x0f\x1f\x84\x00\x00\x00\x00\x00"),
    E("nop with cs", "\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00"),
    E("endbr64", "\xf3\x0f\x1e\xfa"),
    E("endbr32", "\xf3\x0f\x1e\xfb"),
    E("pause", "\xf3\x90"),
    E("prefetcht0 (%rax)", "\x0f\x18\x08"),
    E("prefetchw (%rax)", "\x0f\x0d\x08"),
    E("push %rbp", "\x55"),
    E("push %rsp", "\x54"),
    E("push %r15", "\x41\x57"),
    E("push $-2", "\x6a\xfe"),
    E("push $imm32", "\x68\x78\x56\x34\x92"),
    E("push 8(%rsp)", "\xff\x74\x24\x08"),
    E("pop %rbx", "\x5b"),
    E("pop %rsp", "\x5c"),
    E("pop %r12", "\x41\x5c"),
    E("pushf", "\x9c"),
    E("popf", "\x9d"),
    E("mov %rsp,%rbp", "\x48\x89\xe5"),
    E("mov %edi,%eax", "\x89\xf8"),
    E("mov %ah,%bl", "\x88\xe3"),
    E("mov %spl,%bl", "\x40\x88\xe3"),
    E("mov %ax,%r8w", "\x66\x41\x89\xc0"),
    E("mov $imm32,%eax", "\xb8\x78\x56\x34\x92"),
    E("mov $imm64,%r9", "\x49\xb9\x88\x77\x66\x55\x44\x33\x22\x91"),
    E("mov $simm32,%rax", "\x48\xc7\xc0\x78\x56\x34\x92"),
    E("mov %rdi,-8(%rbp)", "\x48\x89\x7d\xf8"),
    E("mov -0x14(%rbp),%eax", "\x8b\x45\xec"),
    E("mov (%rax,%rcx,8),%rdx", "\x48\x8b\x14\xc8"),
    E("mov %fs:0x628,%rax", "\x64\x48\x8b\x04\x25\x28\x06\x00\x00"),
    E("mov %fs:(%rbx),%eax with a cs that counts for nothing", "\x64\x2e\x8b\x03"),
    E("mov %rax,%fs:(%rbx)", "\x64\x48\x89\x03"),
    E("movl $imm,(%rdi)", "\xc7\x07\x01\x02\x03\x84"),
    E("movb $imm,(%rdi)", "\xc6\x07\x80"),
    E("movzx (%rdi),%eax", "\x0f\xb6\x07"),
    E("movsx (%rdi),%rax", "\x48\x0f\xbe\x07"),
    E("movslq %ecx,%rcx", "\x48\x63\xc9"),
    E("lea 0x10(%rax,%rbx,4),%rdi", "\x48\x8d\x7c\x98\x10"),
    E("lea 0x1000(%rip),%rsi", "\x48\x8d\x35\x00\x10\x00\x00"),
    E("lea with a 32-bit address", "\x67\x48\x8d\x44\x18\xf0"),
    E("sub $0x18,%rsp", "\x48\x83\xec\x18"),
    E("add $0x418,%rsp", "\x48\x81\xc4\x18\x04\x00\x00"),
    E("add %rbx,%rax", "\x48\x01\xd8"),
    E("add %bl,%ah", "\x00\xdc"),
    E("or %ecx,%edx", "\x09\xca"),
    E("adc %rcx,%rdx", "\x48\x11\xca"),
    E("sbb %eax,%eax", "\x19\xc0"),
    E("sbb %cx,%dx", "\x66\x19\xca"),
    E("and $-16,%rsp", "\x48\x83\xe4\xf0"),
    E("xor %eax,%eax", "\x31\xc0"),
    E("xor $imm,%al", "\x34\x5a"),
    E("cmp %rsi,%rdi", "\x48\x39\xf7"),
    E("cmp (%rdi),%al", "\x3a\x07"),
    E("cmpl $imm8,-4(%rbp)", "\x83\x7d\xfc\xff"),
    E("cmp $imm32,%rax", "\x48\x3d\x00\xf0\xff\xff"),
    E("test %rax,%rax", "\x48\x85\xc0"),
    E("test $1,%sil", "\x40\xf6\xc6\x01"),
    E("testb $8,(%rdi)", "\xf6\x07\x08"),
    E("inc %rcx", "\x48\xff\xc1"),
    E("dec %al", "\xfe\xc8"),
    E("neg %rdx", "\x48\xf7\xda"),
    E("neg %dl", "\xf6\xda"),
    E("not %ecx", "\xf7\xd1"),
    E("xchg %rax,%rbx", "\x48\x93"),
    E("xchg %eax,%r8d", "\x41\x90"),
    E("xchg %ah,%al", "\x86\xc4"),
    E("bswap %eax", "\x0f\xc8"),
    E("bswap %r10", "\x49\x0f\xca"),
    E("cbw", "\x66\x98"),
    E("cwde", "\x98"),
    E("cdqe", "\x48\x98"),
    E("cwd", "\x66\x99"),
    E("cdq", "\x99"),
    E("cqo", "\x48\x99"),
    E("cmc", "\xf5"),
    E("clc", "\xf8"),
    E("stc", "\xf9"),
    E("cld", "\xfc"),
    E("std", "\xfd"),
    E("cmovle %ebx,%eax", "\x0f\x4e\xc3"),
    E("cmovb (%rdi),%rax", "\x48\x0f\x42\x07"),
    E("setg %al", "\x0f\x9f\xc0"),
    E("sete (%rdi)", "\x0f\x94\x07"),
    E("jmp rel8", "\xeb\x10"),
    E("jmp to itself", "\xeb\xfe"),
    E("jmp rel32", "\xe9\x00\xf0\xff\xff"),
    E("jmp *%rax", "\xff\xe0"),
    E("notrack jmp *%rax", "\x3e\xff\xe0"),
    E("jmp *0x10000fe2(%rip)", "\xff\x25\xe2\x0f\x00\x10"),
    E("bnd jmp *(%rax)", "\xf2\xff\x20"),
    E("call rel32", "\xe8\x00\x10\x00\x00"),
    E("call with data16 rex.W", "\x66\x48\xe8\x00\x10\x00\x00"),
    E("call *%rax", "\xff\xd0"),
    E("call *%rsp", "\xff\xd4"),
    E("call *8(%rsp)", "\xff\x54\x24\x08"),
    E("ret", "\xc3"),
    E("rep ret", "\xf3\xc3"),
    E("ret $0x10", "\xc2\x10\x00"),
    E("leave", "\xc9"),
    E("loopne", "\xe0\x20"),
    E("loope", "\xe1\x20"),
    E("loop", "\xe2\x20"),
    E("jrcxz", "\xe3\x20"),
    E("loop with ecx", "\x67\xe2\x20"),
    E("jecxz", "\x67\xe3\x20"),
};

static const struct example short_examples[] = {
    E("push %ebp", "\x55"),
    E("push %esp", "\x54"),
    E("push $-2", "\x6a\xfe"),
    E("pop %ebx", "\x5b"),
    E("pop %esp", "\x5c"),
    E("pushf", "\x9c"),
    E("popf", "\x9d"),
    E("endbr32", "\xf3\x0f\x1e\xfb"),
    E("mov %esp,%ebp", "\x89\xe5"),
    E("mov -8(%ebp),%eax", "\x8b\x45\xf8"),
    E("mov 0x30000200,%ecx", "\x8b\x0d\x00\x02\x00\x30"),
    E("mov %eax,(%edx)", "\x89\x02"),
    E("lea 4(%esp),%ecx", "\x8d\x4c\x24\x04"),
    E("sub $0x18,%esp", "\x83\xec\x18"),
    E("inc %eax", "\x40"),
    E("inc %cx", "\x66\x41"),
    E("dec %edi", "\x4f"),
    E("xor %edx,%edx", "\x31\xd2"),
    E("cmp %eax,%ebx", "\x39\xc3"),
    E("add of opcode 82", "\x82\xc0\x7f"),
    E("jmp rel32 down", "\xe9\x00\x00\x00\x80"),
    E("call rel32", "\xe8\x00\x10\x00\x00"),
    E("call *%eax", "\xff\xd0"),
    E("jmp *(%eax)", "\xff\x20"),
    E("ret", "\xc3"),
    E("ret $4", "\xc2\x04\x00"),
    E("leave", "\xc9"),
    E("loop", "\xe2\x20"),
    E("loop with cx", "\x67\xe2\x20"),
    E("jcxz", "\x67\xe3\x20"),
};

static void print_cpu(const char *who, const struct insn_cpu *cpu)
{
    print_error("%s: ip %" PRIx64 " flags %" PRIx64, who, cpu->ip, cpu->flags);
    for (size_t k = 0; k < 16; k++)
        print_error(" %" PRIx64, cpu->regs[k]);
    print_error("\n");
}

static void fail_with(const char *what, const uint8_t *bytes, const struct insn *i, uint32_t seed)
{
    print_error("%s, seed %" PRIu32 ", %s:", what, seed, i->isa == INSN_I386 ? "i386" : "x86_64");
    for (size_t k = 0; k < i->length; k++)
        print_error(" %02x", bytes[k]);
    print_error("\n");
}

/* Once with a random state; false: not one that can be tried. */
static bool compare_once(struct machine *m, struct random *r, const uint8_t *bytes,
                         const struct insn *i)
{
    uint8_t before[MACHINE_PAGE], emulated[MACHINE_PAGE];
    uint32_t seed = r->x;
    struct insn_cpu start, ours, real;
    struct insn_memory load, store;
    int signo;

    machine_random(m, r, &start);
    ours = real = start;
    if (!insn_load(i, &ours, &load) || !machine_has(&load))
        return false;
    load.value = load.size ? machine_load(&load) : 0;
    if (!insn_emulate(i, &ours, &load, &store) || !machine_has(&store))
        return false;
    memcpy(before, machine_at(MACHINE_DATA), MACHINE_PAGE);
    machine_store(&store);
    memcpy(emulated, machine_at(MACHINE_DATA), MACHINE_PAGE);
    memcpy(machine_at(MACHINE_DATA), before, MACHINE_PAGE);

    if (i->x86.op == X86_OP_PUSHF || i->x86.op == X86_OP_POPF)
        signo = machine_run(m, &real);
    else
        signo = machine_step(m, &real);
    if (signo != SIGTRAP || memcmp(&ours, &real, sizeof(ours)) != 0 ||
        memcmp(emulated, machine_at(MACHINE_DATA), MACHINE_PAGE) != 0) {
        fail_with("not what the processor does", bytes, i, seed);
        print_cpu("before", &start);
        print_cpu("emulated", &ours);
        print_cpu("processor", &real);
        fail_msg("signal %d, memory %s", signo,
                 memcmp(emulated, machine_at(MACHINE_DATA), MACHINE_PAGE) ? "differs" : "equal");
    }
    return true;
}

static void compare_examples(struct machine *m, const struct example *examples, size_t n)
{
    struct random r = {.x = 20240229};

    for (size_t k = 0; k < n; k++) {
        const uint8_t *bytes = (const uint8_t *)examples[k].bytes;
        struct insn insn;
        unsigned done = 0;

        assert_int_equal(insn_decode(bytes, examples[k].n, m->isa, 0, &insn), 0);
        assert_int_equal(insn.length, examples[k].n);
        if (insn.class != INSN_EMULATE)
            fail_msg("%s is not emulated", examples[k].name);
        machine_write_code(MACHINE_CODE, bytes, insn.length);
        for (unsigned tries = 0; done < STATES && tries < TRIES; tries++)
            done += compare_once(m, &r, bytes, &insn);
        if (done < STATES)
            fail_msg("%s: only %u states can be tried", examples[k].name, done);
    }
}

static void named_instructions_of_64_bits(void **state)
{
    compare_examples(*state, long_examples, ARRAY_LENGTH(long_examples));
}

static void named_instructions_of_32_bits(void **state)
{
    compare_examples(*state, short_examples, ARRAY_LENGTH(short_examples));
}

static void every_condition(void **state)
{
    struct random r = {.x = 77};
    struct machine *m = *state;

    for (uint8_t condition = 0; condition < 16; condition++) {
        const uint8_t forms[][6] = {{0x70 | condition, 0x10},
                                    {0x0f, 0x80 | condition, 0x00, 0x10, 0x00, 0x00},
                                    {0x0f, 0x90 | condition, 0xc1},
                                    {0x0f, 0x40 | condition, 0xc1}};

        for (size_t k = 0; k < ARRAY_LENGTH(forms); k++) {
            struct insn insn;

            assert_int_equal(insn_decode(forms[k], sizeof(forms[k]), m->isa, 0, &insn), 0);
            machine_write_code(MACHINE_CODE, forms[k], insn.length);
            for (unsigned done = 0; done < 100; done++)
                assert_true(compare_once(m, &r, forms[k], &insn));
        }
    }
}

/* Whatever is said to be emulated: forms that nobody thought of. */
static void compare_random(struct machine *m, uint32_t seed)
{
    unsigned seen[X86_OP_LOOP + 1] = {};
    struct random r = {.x = seed};

    for (unsigned done = 0; done < RANDOM_STEPS;) {
        uint8_t bytes[INSN_LENGTH_MAX];
        struct insn insn;

        if (!machine_random_insn(m, &r, bytes, &insn) || insn.class != INSN_EMULATE)
            continue;
        machine_write_code(MACHINE_CODE, bytes, insn.length);
        for (unsigned tries = 0; tries < 4; tries++)
            if (compare_once(m, &r, bytes, &insn)) {
                seen[insn.x86.op]++;
                done++;
            }
    }
    for (size_t op = X86_OP_NONE + 1; op < ARRAY_LENGTH(seen); op++)
        if (seen[op] < 20)
            fail_msg("operation %zu was tried %u times", op, seen[op]);
}

static void random_instructions_of_64_bits(void **state)
{
    compare_random(*state, 20250101);
}

static void random_instructions_of_32_bits(void **state)
{
    compare_random(*state, 20250102);
}

static void refuses(const char *bytes, size_t n, enum insn_isa isa, const struct insn_cpu *cpu,
                    uint64_t loaded)
{
    struct insn_memory load = {}, store = {.size = 77};
    struct insn_cpu after = *cpu;
    struct insn insn;

    assert_int_equal(insn_decode((const uint8_t *)bytes, n, isa, 0, &insn), 0);
    if (insn_load(&insn, &after, &load)) {
        load.value = loaded;
        assert_int_equal(insn_emulate(&insn, &after, &load, &store), 0);
    }
    assert_memory_equal(&after, cpu, sizeof(after));
    assert_int_equal(store.size, 77);
}

#define REFUSES(bytes, cpu, loaded) refuses(bytes, sizeof(bytes) - 1, INSN_X86_64, cpu, loaded)

static void what_only_the_processor_can_do_is_refused(void **state)
{
    const struct insn_cpu cpu = {.ip = MACHINE_CODE, .flags = 0x202};
    struct insn_cpu traps = cpu, aligned = cpu, privileged = cpu;

    traps.flags |= FLAG_TF;
    aligned.flags |= FLAG_AC;
    privileged.flags |= FLAG_IOPL;
    REFUSES("\x90", &traps, 0);
    REFUSES("\x8b\x00", &aligned, 0);
    REFUSES("\xc3", &cpu, UINT64_C(1) << 47); /* a return out of the address space */
    REFUSES("\xff\x20", &cpu, UINT64_MAX);    /* a jump out of it */
    REFUSES("\x9d", &cpu, 0x202 | FLAG_TF);   /* popf: begins to trap itself */
    REFUSES("\x9d", &cpu, 0x202 | FLAG_ID);   /* what no tracer may set */
    REFUSES("\x9d", &cpu, 0x202 | FLAG_NT);
    REFUSES("\x9d", &privileged, 0x202);
    REFUSES("\x01\x00", &cpu, 0);         /* reads and writes memory */
    REFUSES("\xf0\x01\x00", &cpu, 0);     /* and locks it */
    REFUSES("\x87\x00", &cpu, 0);         /* and does without saying so */
    REFUSES("\x66\x50", &cpu, 0);         /* a push of 16 bits */
    REFUSES("\x66\xc3", &cpu, 0);         /* a return of 16 bits */
    REFUSES("\xf3\x0f\x1e\xc8", &cpu, 0); /* rdsspd */
    REFUSES("\x0f\x05", &cpu, 0);
    REFUSES("\xcc", &cpu, 0);
}

static void emulation_clears_the_resume_flag(void **state)
{
    struct insn_cpu cpu = {.ip = MACHINE_CODE, .flags = 0x202 | FLAG_RF};
    struct insn_memory load = {}, store;
    struct insn insn;

    assert_int_equal(insn_decode((const uint8_t *)"\x90", 1, INSN_X86_64, 0, &insn), 0);
    assert_int_equal(insn_emulate(&insn, &cpu, &load, &store), 1);
    assert_int_equal(cpu.flags, 0x202);
    assert_int_equal(cpu.ip, MACHINE_CODE + 1);
}

static int start_64(void **state)
{
    return machine_start(INSN_X86_64, state);
}

static int start_32(void **state)
{
    return machine_start(INSN_I386, state);
}

#define TEST_64(f) cmocka_unit_test_setup_teardown(f, start_64, machine_stop)
#define TEST_32(f) cmocka_unit_test_setup_teardown(f, start_32, machine_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_64(named_instructions_of_64_bits),
        TEST_32(named_instructions_of_32_bits),
        TEST_64(every_condition),
        TEST_64(random_instructions_of_64_bits),
        TEST_32(random_instructions_of_32_bits),
        cmocka_unit_test(what_only_the_processor_can_do_is_refused),
        cmocka_unit_test(emulation_clears_the_resume_flag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
