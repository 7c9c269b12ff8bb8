/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "tests/unit/regs-fixture.h"

/* Registers of programs that have loaded known values. No root. The arguments are known-registers
 * and, where this machine has a compiler for 32 bits, known-registers-32. */

static const char *programs[2];

/* The loop is reached soon after "ready"; its last register is loaded last. */
static void stop_in_loop(struct child *c, const char *last, uint64_t value)
{
    uint64_t found = 0;

    for (int i = 0; i < 1000 && found != value; i++) {
        _cleanup_regs_ struct regs r = {0};

        child_interrupt(c);
        assert_return_code(regs_open(c->pid, &c->xsave, &r), 0);
        assert_return_code(regs_get(&r, last, &found, strcmp(last, "r15") == 0 ? 8 : 4), 0);
        if (found != value) {
            assert_return_code(ptrace_ops_cont(c->pid, 0), 0);
            usleep(1000);
        }
    }
    assert_int_equal(found, value);
}

static void assert_vectors(struct regs *r, unsigned n, bool avx)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t expected[32], got[32];
        char name[8];

        for (unsigned k = 0; k < 32; k++)
            expected[k] = (uint8_t)(16 * i + k);
        snprintf(name, sizeof(name), "xmm%u", i);
        assert_return_code(regs_get(r, name, got, 16), 0);
        assert_memory_equal(got, expected, 16);
        snprintf(name, sizeof(name), "ymm%u", i);
        if (!avx)
            continue;
        assert_return_code(regs_get(r, name, got, 32), 0);
        assert_memory_equal(got, expected, 32);
    }
}

static void assert_known_values(struct regs *r, const char *const *names, size_t n,
                                const struct child *c)
{
    static const uint8_t one[10] = {[7] = 0x80, [8] = 0xff, [9] = 0x3f};
    uint8_t st0[10];

    for (size_t i = 0; i < n; i++)
        assert_int_equal(child_number(r, names[i]), 0x1010101u * (i + 1));
    assert_return_code(regs_get(r, "st0", st0, 10), 0);
    assert_memory_equal(st0, one, 10);
    assert_int_equal(child_number(r, "fctrl"), 0x37f);
    assert_int_equal(child_number(r, "mxcsr") & 0xffc0, 0x1f80);
    assert_vectors(r, r->arch->word_size == 8 ? 16 : 8, c->avx);
}

/* Lets it go, and reads what it says of its registers. */
static void let_go(struct child *c)
{
    size_t n;

    assert_return_code(ptrace_ops_cont(c->pid, 0), 0);
    n = fread(c->said, 1, sizeof(c->said) - 1, c->out);
    c->said[n] = '\0';
}

static void assert_said(const struct child *c, const char *wanted)
{
    if (!strstr(c->said, wanted))
        fail_msg("the program did not say %s but %s", wanted, c->said);
}

static const char *const names_64[] = {"rax", "rbx", "rcx", "rdx", "rbp", "rdi", "r8",
                                       "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const names_32[] = {"eax", "ebx", "ecx", "edx", "ebp", "edi", "esi"};

static void need(const char *program)
{
    if (!program) {
        print_message("no program of this kind: skipped\n");
        skip();
    }
}

static void registers_of_an_x86_64_program(void **state)
{
    struct child c = {0};
    const struct arch *a = NULL;
    struct regs r = {0};
    uint64_t value;

    need(programs[0]);
    child_start(&c, programs[0]);
    stop_in_loop(&c, "r15", 14 * 0x1010101);
    assert_return_code(arch_of_thread(c.pid, &a), 0);
    assert_true(a == &arch_x86_64);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_known_values(&r, names_64, ARRAY_LENGTH(names_64), &c);
    assert_int_equal(child_number(&r, "cs"), 0x33);
    assert_return_code(regs_read_role(c.pid, ARCH_PC, &value), 0);
    assert_int_equal(value, child_number(&r, "rip"));
    assert_return_code(regs_read_role(c.pid, ARCH_SP, &value), 0);
    assert_int_equal(value, child_number(&r, "rsp"));
    assert_return_code(ptrace_ops_peek_user(c.pid, 16 * sizeof(long), &value), 0);
    assert_int_equal(value, child_number(&r, "rip"));
    regs_done(&r);
    child_finish(&c);
}

static void registers_of_an_i386_program(void **state)
{
    struct child c = {0};
    const struct arch *a = NULL;
    struct regs r = {0};
    const void *tls;
    size_t size;

    need(programs[1]);
    child_start(&c, programs[1]);
    stop_in_loop(&c, "esi", 7 * 0x1010101);
    assert_return_code(arch_of_thread(c.pid, &a), 0);
    assert_true(a == &arch_i386);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_known_values(&r, names_32, ARRAY_LENGTH(names_32), &c);
    assert_int_equal(child_number(&r, "cs"), 0x23);
    assert_return_code(regs_get_set(&r, (size_t)arch_find_set(a, "tls"), &tls, &size), 0);
    assert_int_equal(size, 48);
    regs_done(&r);
    child_finish(&c);
}

static void a_running_process_tells_its_machine(void **state)
{
    const struct arch *const expected[] = {&arch_x86_64, &arch_i386};

    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        const struct arch *a = NULL;
        struct child c = {0};

        if (!programs[i])
            continue;
        child_start(&c, programs[i]);
        assert_return_code(arch_of_process(c.pid, &a), 0);
        assert_true(a == expected[i]);
        child_finish(&c);
        assert_int_equal(arch_of_process(c.pid, &a), -ESRCH);
    }
}

static void what_is_put_reaches_the_program(void **state)
{
    struct child c = {0};
    struct regs r = {0};
    const uint64_t number_put = 0xfeedfacecafebeef, zero = 0;
    uint8_t vector[32];

    need(programs[0]);
    child_start(&c, programs[0]);
    stop_in_loop(&c, "r15", 14 * 0x1010101);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    memset(vector, 0xe7, sizeof(vector));
    assert_return_code(regs_put(&r, "rbx", &number_put, 8), 0);
    assert_return_code(regs_put(&r, "r15", &zero, 8), 0);
    assert_return_code(regs_put(&r, "st0", "\0\0\0\0\0\0\0\x80\0\x40", 10), 0); /* 2.0 */
    assert_return_code(regs_put(&r, c.avx ? "ymm7" : "xmm7", vector, c.avx ? 32 : 16), 0);
    assert_return_code(regs_write(&r, NULL), 0);
    regs_done(&r);
    let_go(&c);
    assert_said(&c, "rax 1010101\n");
    assert_said(&c, "rbx feedfacecafebeef\n");
    assert_said(&c, "st0 00000000000000800040\n");
    if (c.avx) {
        assert_said(&c, "ymm6 606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f\n");
        assert_said(&c, "ymm7 e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7\n");
    } else {
        assert_said(&c, "xmm7 e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7\n");
    }
    child_finish(&c);
}

static void what_is_put_reaches_an_i386_program(void **state)
{
    struct child c = {0};
    struct regs r = {0};
    const uint32_t number_put = 0xcafebeef, zero = 0;

    need(programs[1]);
    child_start(&c, programs[1]);
    stop_in_loop(&c, "esi", 7 * 0x1010101);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(regs_put(&r, "ebx", &number_put, 4), 0);
    assert_return_code(regs_put(&r, "esi", &zero, 4), 0);
    assert_return_code(regs_put(&r, "xmm7", "0123456789abcdef", 16), 0);
    assert_return_code(regs_write(&r, NULL), 0);
    regs_done(&r);
    let_go(&c);
    assert_said(&c, "ebx cafebeef\n");
    assert_said(&c, c.avx ? "ymm7 30313233343536373839616263646566"
                            "808182838485868788898a8b8c8d8e8f\n"
                          : "xmm7 30313233343536373839616263646566\n");
    child_finish(&c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_of_an_x86_64_program),
        cmocka_unit_test(registers_of_an_i386_program),
        cmocka_unit_test(a_running_process_tells_its_machine),
        cmocka_unit_test(what_is_put_reaches_the_program),
        cmocka_unit_test(what_is_put_reaches_an_i386_program),
    };

    for (int i = 1; i < argc && i <= 2; i++)
        programs[i - 1] = argv[i];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
