/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "daemon/trace/macro.h"
#include "tests/unit/insn-fixture.h"

/* The copy does elsewhere what the original does: both are executed, from the same random state. */

#define RANDOM_STEPS 30000
#define STATES 200

/* In the state of the x87, the address of the last instruction and of its operand; and what the
 * kernel keeps in that area for itself. */
static bool xstate_is_equal(const struct machine *m, const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, 6) == 0 && memcmp(a + 24, b + 24, 464 - 24) == 0 &&
           memcmp(a + 576, b + 576, m->xstate_size - 576) == 0;
}

/* Different at each execution, or after a step: see machine_run() of popf. */
static bool is_unsteady(const struct insn_x86 *x)
{
    unsigned reg = x->reg & 7;

    if (x->map == X86_MAP_ONE)
        return x->opcode == 0x9c || x->opcode == 0x9d;
    if (x->map != X86_MAP_0F)
        return false;
    return x->opcode == 0x31 || x->opcode == 0x33 ||                    /* rdtsc, rdpmc */
           (x->opcode == 0x01 && x->mod == 3) ||                        /* rdtscp */
           x->opcode == 0xa2 ||                                         /* cpuid: slow in a VM */
           (x->opcode == 0xc7 && (reg == 6 || reg == 7)) ||             /* rdrand, rdseed */
           (x->opcode == 0xae && x->mod == 3 && reg == 6 && x->repeat); /* umwait, tpause */
}

struct outcome {
    int signo;
    int done; /* insn_leave() said so */
    struct machine_state state;
    uint8_t data[MACHINE_PAGE];
};

static void run_original(struct machine *m, const uint8_t *data, struct outcome *o)
{
    memcpy(machine_at(MACHINE_DATA), data, MACHINE_PAGE);
    o->signo = machine_step_all(m, &o->state);
    memcpy(o->data, machine_at(MACHINE_DATA), MACHINE_PAGE);
}

static void run_copy(struct machine *m, struct insn_copy *c, const uint8_t *data, struct outcome *o)
{
    struct insn_memory store;

    memcpy(machine_at(MACHINE_DATA), data, MACHINE_PAGE);
    insn_enter(c, &o->state.cpu);
    o->signo = machine_step_all(m, &o->state);
    o->done = insn_leave(c, &o->state.cpu, &store);
    if (machine_has(&store))
        machine_store(&store);
    memcpy(o->data, machine_at(MACHINE_DATA), MACHINE_PAGE);
}

/* A call to an impossible target: what it pushed before that stays below the stack pointer. */
static void forget_failed_call(const struct insn_copy *c, struct outcome *o)
{
    struct insn_memory pushed = {.address = o->state.cpu.regs[4] - 8, .size = 8};
    bool is_call = c->fix == INSN_FIX_CALL_RELATIVE || c->fix == INSN_FIX_CALL_ABSOLUTE;

    if (is_call && o->signo == SIGSEGV && machine_has(&pushed))
        memset(o->data + (pushed.address - MACHINE_DATA), 0, pushed.size);
}

static void print_outcome(const char *who, const struct outcome *o)
{
    print_error("%s: signal %d ip %" PRIx64 " flags %" PRIx64, who, o->signo, o->state.cpu.ip,
                o->state.cpu.flags);
    for (size_t k = 0; k < 16; k++)
        print_error(" %" PRIx64, o->state.cpu.regs[k]);
    print_error("\n");
}

/* Before each run: an instruction may have reached them. */
static void write_both(const struct insn_copy *c, const uint8_t *bytes)
{
    machine_write_code(c->from, bytes, c->length);
    machine_write_code(c->to, c->bytes, c->length);
}

/* Returns the signal that both ended with. */
static int compare_once(struct machine *m, struct random *r, const uint8_t *bytes,
                        const struct insn *i)
{
    uint8_t data[MACHINE_PAGE];
    uint32_t seed = r->x;
    struct outcome original = {}, copied = {};
    struct insn_copy copy;
    bool equal;

    machine_random(m, r, &original.state.cpu);
    copied.state.cpu = original.state.cpu;
    memcpy(data, machine_at(MACHINE_DATA), MACHINE_PAGE);
    if (!insn_displace(i, bytes, MACHINE_CODE, machine_copy(m->isa), &copy))
        return 0;
    write_both(&copy, bytes);
    run_original(m, data, &original);
    write_both(&copy, bytes);
    run_copy(m, &copy, data, &copied);
    forget_failed_call(&copy, &original);
    forget_failed_call(&copy, &copied);
    equal = original.signo == copied.signo &&
            memcmp(&original.state.cpu, &copied.state.cpu, sizeof(struct insn_cpu)) == 0 &&
            memcmp(original.data, copied.data, MACHINE_PAGE) == 0 &&
            xstate_is_equal(m, original.state.xstate, copied.state.xstate);
    if (!equal || copied.done != (original.state.cpu.ip != MACHINE_CODE)) {
        print_outcome("original", &original);
        print_outcome("copy", &copied);
        for (size_t k = 0; k < i->length; k++)
            print_error(" %02x", bytes[k]);
        fail_msg(": the copy does otherwise, seed %" PRIu32 ", memory %s, vectors %s", seed,
                 memcmp(original.data, copied.data, MACHINE_PAGE) ? "differs" : "equal",
                 xstate_is_equal(m, original.state.xstate, copied.state.xstate) ? "equal"
                                                                                : "differ");
    }
    return original.signo;
}

/* Those that are made for this, whatever else the random ones are. */
static void compare_bytes(struct machine *m, const char *bytes, size_t n)
{
    struct random r = {.x = 31337};
    struct insn insn;
    unsigned executed = 0;

    assert_int_equal(insn_decode((const uint8_t *)bytes, n, m->isa, 0, &insn), 0);
    assert_int_equal(insn.length, n);
    for (unsigned k = 0; k < STATES; k++)
        executed += compare_once(m, &r, (const uint8_t *)bytes, &insn) == SIGTRAP;
    if (executed < 5)
        fail_msg("%02x %02x ...: executed %u times", bytes[0] & 0xff, bytes[1] & 0xff, executed);
}

#define COMPARE(m, bytes) compare_bytes(m, bytes, sizeof(bytes) - 1)

static void branches_and_calls(void **state)
{
    COMPARE(*state, "\xeb\x10");
    COMPARE(*state, "\xe9\x00\x00\x01\x00");
    COMPARE(*state, "\x0f\x84\x00\x00\x01\x00");
    COMPARE(*state, "\xe2\x80");
    COMPARE(*state, "\xe3\x02");
    COMPARE(*state, "\xe8\x00\x10\x00\x00");
    COMPARE(*state, "\xff\xd0");
    COMPARE(*state, "\xff\xe3");
    COMPARE(*state, "\xff\x54\x24\x08");
    COMPARE(*state, "\xff\x24\x24");
    COMPARE(*state, "\xc3");
    COMPARE(*state, "\xc2\x08\x00");
}

/* Each points into the data, at 0x30000800 or near it. */
static void relative_to_the_program_counter(void **state)
{
    COMPARE(*state, "\x48\x8b\x05\xf9\x07\x00\x10");             /* mov to rax */
    COMPARE(*state, "\x4c\x89\x35\xf9\x07\x00\x10");             /* mov from r14: rsi is named */
    COMPARE(*state, "\x48\x01\x35\xf9\x07\x00\x10");             /* add from rsi */
    COMPARE(*state, "\x48\x87\x3d\xf9\x07\x00\x10");             /* xchg with rdi */
    COMPARE(*state, "\x88\x35\xfa\x07\x00\x10");                 /* mov from dh */
    COMPARE(*state, "\x88\x3d\xfa\x07\x00\x10");                 /* mov from bh */
    COMPARE(*state, "\x40\x88\x35\xf9\x07\x00\x10");             /* mov from sil */
    COMPARE(*state, "\x4f\x8d\x35\xf9\x07\x00\x10");             /* lea, useless bits of rex */
    COMPARE(*state, "\x67\x48\x8d\x35\xf8\x07\x00\x10");         /* lea, eip */
    COMPARE(*state, "\xff\x15\xfa\x07\x00\x10");                 /* call */
    COMPARE(*state, "\xff\x25\xfa\x07\x00\x10");                 /* jmp */
    COMPARE(*state, "\xff\x35\xfa\x07\x00\x10");                 /* push */
    COMPARE(*state, "\x8f\x05\xfa\x07\x00\x10");                 /* pop */
    COMPARE(*state, "\xf0\x48\x0f\xb1\x35\xf7\x07\x00\x10");     /* lock cmpxchg */
    COMPARE(*state, "\x0f\xc7\x0d\xf9\x07\x00\x10");             /* cmpxchg8b */
    COMPARE(*state, "\x48\x0f\xc7\x0d\xf8\x07\x00\x10");         /* cmpxchg16b */
    COMPARE(*state, "\x0f\x28\x05\xf9\x07\x00\x10");             /* movaps */
    COMPARE(*state, "\x66\x0f\x3a\x0f\x05\xf6\x07\x00\x10\x03"); /* palignr */
    COMPARE(*state, "\x48\x81\x05\xf5\x07\x00\x10\x01\x02\x03\x04");
    COMPARE(*state, "\xdd\x05\xfa\x07\x00\x10"); /* fld */
}

static void vectors_relative_to_the_program_counter(void **state)
{
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) {
        COMPARE(*state, "\xc5\xfd\x6f\x05\xf8\x07\x00\x10");         /* vmovdqa */
        COMPARE(*state, "\xc4\xc1\x7d\x6f\x35\xf7\x07\x00\x10");     /* useless B */
        COMPARE(*state, "\xc4\xe2\xcb\xf7\x3d\xf7\x07\x00\x10");     /* shrx: rsi and rdi named */
        COMPARE(*state, "\xc4\xe2\xc3\xf6\x35\xf7\x07\x00\x10");     /* mulx, the same */
        COMPARE(*state, "\xc4\xe2\x48\xf2\x3d\xf7\x07\x00\x10");     /* andn */
        COMPARE(*state, "\xc4\xe3\xfb\xf0\x3d\xf6\x07\x00\x10\x11"); /* rorx */
        COMPARE(*state, "\xc4\xe3\x75\x46\x05\xf6\x07\x00\x10\x20"); /* vperm2i128 */
    }
    if (__builtin_cpu_supports("avx512f")) {
        COMPARE(*state, "\x62\xf1\x7c\x48\x10\x05\xf6\x07\x00\x10");     /* vmovups */
        COMPARE(*state, "\x62\xd1\x7c\x48\x10\x05\xf6\x07\x00\x10");     /* useless B */
        COMPARE(*state, "\x62\x61\x7c\x48\x11\x35\xf6\x07\x00\x10");     /* store */
        COMPARE(*state, "\x62\xf3\xf5\x48\x03\x05\xf5\x07\x00\x10\x03"); /* valignq */
    }
}

static void repeated_ones_stop_in_the_middle(void **state)
{
    COMPARE(*state, "\xf3\xa4");
    COMPARE(*state, "\xf3\x48\xab");
    COMPARE(*state, "\xf2\xae");
    COMPARE(*state, "\xf3\xa6");
}

static void compare_random(struct machine *m, uint32_t seed)
{
    struct random r = {.x = seed};
    unsigned executed = 0, pointed = 0;

    for (unsigned k = 0; k < RANDOM_STEPS;) {
        uint8_t bytes[INSN_LENGTH_MAX];
        struct insn insn;

        if (!machine_random_insn(m, &r, bytes, &insn) || is_unsteady(&insn.x86))
            continue;
        if (insn.class != INSN_DISPLACE && insn.class != INSN_EMULATE)
            continue;
        k++;
        if (compare_once(m, &r, bytes, &insn) == SIGTRAP) {
            executed++;
            pointed += insn.x86.ip_relative;
        }
    }
    assert_true(executed > RANDOM_STEPS / 4);
    assert_true(m->isa == INSN_I386 || pointed > RANDOM_STEPS / 40);
}

static void random_instructions_of_64_bits(void **state)
{
    compare_random(*state, 20250103);
}

static void random_instructions_of_32_bits(void **state)
{
    compare_random(*state, 20250104);
}

/* At the call's entry the thread is moved back: what the call sees and where it returns to are as
 * if it had been made by the original. */
static void call_is_entered(struct machine *m, const char *bytes, size_t n, long number)
{
    struct insn_copy copy;
    struct insn_memory store;
    struct insn_cpu cpu;
    struct insn insn;
    struct random r = {.x = 5};

    machine_random(m, &r, &cpu);
    assert_int_equal(insn_decode((const uint8_t *)bytes, n, m->isa, 0, &insn), 0);
    assert_int_equal(insn.class, INSN_SYSCALL);
    assert_int_equal(
        insn_displace(&insn, (const uint8_t *)bytes, MACHINE_CODE, machine_copy(m->isa), &copy), 1);
    machine_write_code(copy.to, copy.bytes, copy.length);
    cpu.regs[0] = (uint64_t)number;
    insn_enter(&copy, &cpu);
    assert_int_equal(machine_syscall(m, &cpu), SIGTRAP | 0x80);
    assert_int_equal(insn_leave(&copy, &cpu, &store), 1);
    assert_int_equal(cpu.ip, MACHINE_CODE + n);
    if (insn.x86.map == X86_MAP_0F)
        assert_int_equal(cpu.regs[1], MACHINE_CODE + n);
    assert_int_equal(machine_finish_syscall(m, &cpu, number), SIGTRAP | 0x80);
    assert_int_equal(cpu.regs[0], m->pid);
    assert_int_equal(cpu.ip, MACHINE_CODE + n);
    if (insn.x86.map == X86_MAP_0F)
        assert_int_equal(cpu.regs[1], MACHINE_CODE + n);
}

static void system_calls(void **state)
{
    call_is_entered(*state, "\x0f\x05", 2, SYS_getpid);
    call_is_entered(*state, "\xcd\x80", 2, 20);
}

static void system_call_of_32_bits(void **state)
{
    call_is_entered(*state, "\xcd\x80", 2, 20);
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
        TEST_64(branches_and_calls),
        TEST_64(relative_to_the_program_counter),
        TEST_64(vectors_relative_to_the_program_counter),
        TEST_64(repeated_ones_stop_in_the_middle),
        TEST_64(random_instructions_of_64_bits),
        TEST_32(random_instructions_of_32_bits),
        TEST_64(system_calls),
        TEST_32(system_call_of_32_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
