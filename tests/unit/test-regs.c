/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/wait.h"

/* Registers of real threads. No root. The arguments are known-registers and, where this machine
 * has a compiler for 32 bits, known-registers-32. */

static const char *programs[2];

struct child {
    pid_t pid;
    FILE *out; /* what it says */
    char said[4096];
    bool avx;
    struct arch_xsave xsave;
};

static siginfo_t wait_for_stop(pid_t pid)
{
    siginfo_t info;

    assert_int_equal(wait_thread(pid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    return info;
}

static void interrupt(struct child *c)
{
    assert_return_code(ptrace_ops_interrupt(c->pid), 0);
    wait_for_stop(c->pid);
}

static void start(struct child *c, const char *program)
{
    char line[64];
    int fds[2];

    arch_xsave_probe(&c->xsave);
    assert_return_code(pipe(fds), errno);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl(program, program, NULL);
        _exit(98);
    }
    close(fds[1]);
    c->out = fdopen(fds[0], "r");
    assert_non_null(c->out);
    assert_non_null(fgets(line, sizeof(line), c->out));
    c->avx = strcmp(line, "ready avx\n") == 0;
    assert_return_code(ptrace_ops_seize(c->pid, 0), 0);
}

static void finish(struct child *c)
{
    siginfo_t info;

    kill(c->pid, SIGKILL);
    while (wait_thread(c->pid, 0, &info) == 1)
        if (info.si_code != CLD_TRAPPED)
            break;
    if (c->out)
        fclose(c->out);
}

/* The loop is reached soon after "ready"; its last register is loaded last. */
static void stop_in_loop(struct child *c, const char *last, uint64_t value)
{
    uint64_t found = 0;

    for (int i = 0; i < 1000 && found != value; i++) {
        _cleanup_regs_ struct regs r = {0};

        interrupt(c);
        assert_return_code(regs_open(c->pid, &c->xsave, &r), 0);
        assert_return_code(regs_get(&r, last, &found, strcmp(last, "r15") == 0 ? 8 : 4), 0);
        if (found != value) {
            assert_return_code(ptrace_ops_cont(c->pid, 0), 0);
            usleep(1000);
        }
    }
    assert_int_equal(found, value);
}

static uint64_t number(struct regs *r, const char *name)
{
    uint64_t value = 0;
    const struct arch_register *reg = arch_find_register(r->arch, name);

    assert_non_null(reg);
    assert_return_code(regs_get_register(r, reg, &value, reg->size), 0);
    return value;
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
        assert_int_equal(number(r, names[i]), 0x1010101u * (i + 1));
    assert_return_code(regs_get(r, "st0", st0, 10), 0);
    assert_memory_equal(st0, one, 10);
    assert_int_equal(number(r, "fctrl"), 0x37f);
    assert_int_equal(number(r, "mxcsr") & 0xffc0, 0x1f80);
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
    start(&c, programs[0]);
    stop_in_loop(&c, "r15", 14 * 0x1010101);
    assert_return_code(arch_of_thread(c.pid, &a), 0);
    assert_true(a == &arch_x86_64);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_known_values(&r, names_64, ARRAY_LENGTH(names_64), &c);
    assert_int_equal(number(&r, "cs"), 0x33);
    assert_return_code(regs_read_role(c.pid, ARCH_PC, &value), 0);
    assert_int_equal(value, number(&r, "rip"));
    assert_return_code(regs_read_role(c.pid, ARCH_SP, &value), 0);
    assert_int_equal(value, number(&r, "rsp"));
    assert_return_code(ptrace_ops_peek_user(c.pid, 16 * sizeof(long), &value), 0);
    assert_int_equal(value, number(&r, "rip"));
    regs_done(&r);
    finish(&c);
}

static void registers_of_an_i386_program(void **state)
{
    struct child c = {0};
    const struct arch *a = NULL;
    struct regs r = {0};
    const void *tls;
    size_t size;

    need(programs[1]);
    start(&c, programs[1]);
    stop_in_loop(&c, "esi", 7 * 0x1010101);
    assert_return_code(arch_of_thread(c.pid, &a), 0);
    assert_true(a == &arch_i386);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_known_values(&r, names_32, ARRAY_LENGTH(names_32), &c);
    assert_int_equal(number(&r, "cs"), 0x23);
    assert_return_code(regs_get_set(&r, (size_t)arch_find_set(a, "tls"), &tls, &size), 0);
    assert_int_equal(size, 48);
    regs_done(&r);
    finish(&c);
}

static void a_running_process_tells_its_machine(void **state)
{
    const struct arch *const expected[] = {&arch_x86_64, &arch_i386};

    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        const struct arch *a = NULL;
        struct child c = {0};

        if (!programs[i])
            continue;
        start(&c, programs[i]);
        assert_return_code(arch_of_process(c.pid, &a), 0);
        assert_true(a == expected[i]);
        finish(&c);
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
    start(&c, programs[0]);
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
    finish(&c);
}

static void what_is_put_reaches_an_i386_program(void **state)
{
    struct child c = {0};
    struct regs r = {0};
    const uint32_t number_put = 0xcafebeef, zero = 0;

    need(programs[1]);
    start(&c, programs[1]);
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
    finish(&c);
}

/* ---- children of the test itself ----------------------------------------------------------- */

static int spin(void)
{
    for (;;)
        __asm__ volatile("");
    return 0;
}

static int sleep_in_a_call(void)
{
    for (;;)
        pause();
    return 0;
}

static void start_function(struct child *c, int (*function)(void))
{
    arch_xsave_probe(&c->xsave);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(function());
    }
    assert_return_code(ptrace_ops_seize(c->pid, 0), 0);
}

static void a_running_thread_has_no_registers(void **state)
{
    struct child c = {0};
    const struct arch *a;
    struct regs r = {0};
    unsigned long word;
    const void *bytes;
    uint64_t value;
    size_t size;

    start_function(&c, spin);
    assert_int_equal(regs_open(c.pid, &c.xsave, &r), -ESRCH);
    assert_int_equal(arch_of_thread(c.pid, &a), -ESRCH);
    assert_int_equal(regs_read_role(c.pid, ARCH_PC, &value), -ESRCH);
    assert_int_equal(ptrace_ops_peek_user(c.pid, 0, &word), -ESRCH);
    assert_int_equal(ptrace_ops_poke_user(c.pid, 0, 0), -ESRCH);

    interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(ptrace_ops_cont(c.pid, 0), 0);
    assert_int_equal(regs_write(&r, NULL), 0); /* nothing was put */
    assert_int_equal(regs_get_set(&r, (size_t)arch_find_set(r.arch, "fp"), &bytes, &size), -ESRCH);
    finish(&c);
    regs_done(&r);
}

static void a_thread_that_was_killed_has_none_any_more(void **state)
{
    struct child c = {0};
    struct regs r = {0};
    const void *bytes;
    siginfo_t info;
    size_t size;

    start_function(&c, spin);
    interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(regs_get_set(&r, ARCH_GENERAL, &bytes, &size), 0);
    kill(c.pid, SIGKILL);
    assert_int_equal(wait_thread(c.pid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_KILLED);
    assert_int_equal(regs_get_set(&r, (size_t)arch_find_set(r.arch, "fp"), &bytes, &size), -ESRCH);
    assert_return_code(regs_get_set(&r, ARCH_GENERAL, &bytes, &size), 0);
    assert_return_code(regs_put_set(&r, ARCH_GENERAL, r.sets[0].bytes, size), 0);
    assert_int_equal(regs_write(&r, NULL), -ESRCH);
    regs_done(&r);
}

static void unknown_names_and_wrong_sizes_are_refused(void **state)
{
    struct child c = {0};
    struct regs r = {0};
    uint64_t value = 0;
    const void *bytes;
    size_t size;

    start_function(&c, spin);
    interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_int_equal(regs_get(&r, "nonsense", &value, 8), -ENOENT);
    assert_int_equal(regs_put(&r, "nonsense", &value, 8), -ENOENT);
    assert_int_equal(regs_get(&r, r.arch->registers[0].name, &value, 3), -EINVAL);
    assert_int_equal(regs_put(&r, r.arch->registers[0].name, &value, 3), -EINVAL);
    assert_return_code(regs_get_set(&r, ARCH_GENERAL, &bytes, &size), 0);
    assert_int_equal(regs_put_set(&r, ARCH_GENERAL, bytes, size - 8), -EINVAL);
    regs_done(&r);
    finish(&c);
}

#ifdef __x86_64__
/* The kernel has taken rbx, and refuses fs_base: then rbx is as it was. */
static void a_write_that_is_refused_half_way_changes_nothing(void **state)
{
    const uint64_t fine = 0x1234, not_canonical = 0x8000000000000000;
    const uint32_t reserved = 0xffffffff;
    struct child c = {0};
    struct regs r = {0};
    uint64_t rbx, eflags;
    size_t set = 99;

    start_function(&c, spin);
    interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    rbx = number(&r, "rbx");
    eflags = number(&r, "eflags");
    assert_return_code(regs_put(&r, "rbx", &fine, 8), 0);
    assert_return_code(regs_put(&r, "fs_base", &not_canonical, 8), 0);
    assert_int_equal(regs_write(&r, &set), -EIO);
    assert_int_equal(set, ARCH_GENERAL);
    regs_done(&r);

    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_int_equal(number(&r, "rbx"), rbx);
    assert_return_code(regs_put(&r, "rbx", &fine, 8), 0);
    assert_return_code(regs_put(&r, "mxcsr", &reserved, 4), 0);
    assert_int_equal(regs_write(&r, &set), -EINVAL);
    assert_int_equal(set, arch_find_set(r.arch, "xstate"));
    regs_done(&r);

    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_int_equal(number(&r, "rbx"), rbx);
    assert_int_equal(number(&r, "eflags"), eflags);
    regs_done(&r);
    finish(&c);
}

static void a_bad_segment_is_refused(void **state)
{
    const uint64_t kernel_data = 0x18;
    struct child c = {0};
    struct regs r = {0};

    start_function(&c, spin);
    interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(regs_put(&r, "ds", &kernel_data, 8), 0);
    assert_int_equal(regs_write(&r, NULL), -EIO);
    regs_done(&r);
    finish(&c);
}

__attribute__((noreturn)) static void jumped_here(void)
{
    _exit(42);
}

/* Stopped in pause(), the kernel would set the program counter back by two bytes, into the middle
 * of whatever comes before. */
static void a_program_counter_that_is_put_into_a_call_stays(void **state)
{
    uint64_t pc, sp;
    struct child c = {0};
    siginfo_t info;
    bool restarts = false;

    start_function(&c, sleep_in_a_call);
    for (int i = 0; i < 1000 && !restarts; i++) {
        _cleanup_regs_ struct regs r = {0};

        interrupt(&c);
        assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
        restarts = arch_will_restart(r.arch, r.sets[ARCH_GENERAL].bytes);
        if (!restarts) {
            assert_return_code(ptrace_ops_cont(c.pid, 0), 0);
            usleep(1000);
            continue;
        }
        pc = (uintptr_t)jumped_here;
        sp = (number(&r, "rsp") & ~UINT64_C(15)) - 8;
        assert_return_code(regs_put(&r, "rip", &pc, 8), 0);
        assert_return_code(regs_put(&r, "rsp", &sp, 8), 0);
        assert_return_code(regs_write(&r, NULL), 0);
    }
    assert_true(restarts);
    assert_return_code(ptrace_ops_cont(c.pid, 0), 0);
    assert_int_equal(wait_thread(c.pid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_EXITED);
    assert_int_equal(info.si_status, 42);
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_of_an_x86_64_program),
        cmocka_unit_test(registers_of_an_i386_program),
        cmocka_unit_test(a_running_process_tells_its_machine),
        cmocka_unit_test(what_is_put_reaches_the_program),
        cmocka_unit_test(what_is_put_reaches_an_i386_program),
        cmocka_unit_test(a_running_thread_has_no_registers),
        cmocka_unit_test(a_thread_that_was_killed_has_none_any_more),
        cmocka_unit_test(unknown_names_and_wrong_sizes_are_refused),
#ifdef __x86_64__
        cmocka_unit_test(a_write_that_is_refused_half_way_changes_nothing),
        cmocka_unit_test(a_bad_segment_is_refused),
        cmocka_unit_test(a_program_counter_that_is_put_into_a_call_stays),
#endif
    };

    for (int i = 1; i < argc && i <= 2; i++)
        programs[i - 1] = argv[i];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
