/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/user.h>
#include <unistd.h>

#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"
#include "tests/unit/regs-fixture.h"

/* Registers of real threads: what can be done to them, and what cannot. No root. */

static int spin(void)
{
    for (;;)
        __asm__ volatile("");
    return 0;
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

    child_start_function(&c, spin);
    assert_int_equal(regs_open(c.pid, &c.xsave, &r), -ESRCH);
    assert_int_equal(arch_of_thread(c.pid, &a), -ESRCH);
    assert_int_equal(regs_read_role(c.pid, ARCH_PC, &value), -ESRCH);
    assert_int_equal(ptrace_ops_peek_user(c.pid, 0, &word), -ESRCH);
    assert_int_equal(ptrace_ops_poke_user(c.pid, 0, 0), -ESRCH);

    child_interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(ptrace_ops_cont(c.pid, 0), 0);
    assert_int_equal(regs_write(&r, NULL), 0); /* nothing was put */
    assert_int_equal(regs_get_set(&r, (size_t)arch_find_set(r.arch, "fp"), &bytes, &size), -ESRCH);
    child_finish(&c);
    regs_done(&r);
}

static void a_thread_that_was_killed_has_none_any_more(void **state)
{
    struct child c = {0};
    struct regs r = {0};
    const void *bytes;
    siginfo_t info;
    size_t size;

    child_start_function(&c, spin);
    child_interrupt(&c);
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

    child_start_function(&c, spin);
    child_interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_int_equal(regs_get(&r, "nonsense", &value, 8), -ENOENT);
    assert_int_equal(regs_put(&r, "nonsense", &value, 8), -ENOENT);
    assert_int_equal(regs_get(&r, r.arch->registers[0].name, &value, 3), -EINVAL);
    assert_int_equal(regs_put(&r, r.arch->registers[0].name, &value, 3), -EINVAL);
    assert_return_code(regs_get_set(&r, ARCH_GENERAL, &bytes, &size), 0);
    assert_int_equal(regs_put_set(&r, ARCH_GENERAL, bytes, size - 8), -EINVAL);
    regs_done(&r);
    child_finish(&c);
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

    child_start_function(&c, spin);
    child_interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    rbx = child_number(&r, "rbx");
    eflags = child_number(&r, "eflags");
    assert_return_code(regs_put(&r, "rbx", &fine, 8), 0);
    assert_return_code(regs_put(&r, "fs_base", &not_canonical, 8), 0);
    assert_int_equal(regs_write(&r, &set), -EIO);
    assert_int_equal(set, ARCH_GENERAL);
    regs_done(&r);

    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_int_equal(child_number(&r, "rbx"), rbx);
    assert_return_code(regs_put(&r, "rbx", &fine, 8), 0);
    assert_return_code(regs_put(&r, "mxcsr", &reserved, 4), 0);
    assert_int_equal(regs_write(&r, &set), -EINVAL);
    assert_int_equal(set, arch_find_set(r.arch, "xstate"));
    regs_done(&r);

    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_int_equal(child_number(&r, "rbx"), rbx);
    assert_int_equal(child_number(&r, "eflags"), eflags);
    regs_done(&r);
    child_finish(&c);
}

static void a_bad_segment_is_refused(void **state)
{
    const uint64_t kernel_data = 0x18;
    struct child c = {0};
    struct regs r = {0};

    child_start_function(&c, spin);
    child_interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(regs_put(&r, "ds", &kernel_data, 8), 0);
    assert_int_equal(regs_write(&r, NULL), -EIO);
    regs_done(&r);
    child_finish(&c);
}

static int spin_with_avx_unused(void)
{
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroupper");
    for (;;)
        __asm__ volatile("");
    return 0;
}

/* VZEROUPPER puts AVX into its initial state, so that the kernel leaves it out. */
static void a_component_that_a_thread_does_not_use_can_be_written(void **state)
{
    struct child c = {0};
    struct regs r = {0};
    uint8_t got[32], vector[32];

    if (!__builtin_cpu_supports("avx")) {
        print_message("no AVX: skipped\n");
        skip();
    }
    memset(vector, 0xe7, sizeof(vector));
    child_start_function(&c, spin_with_avx_unused);
    usleep(10000);
    child_interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(regs_get(&r, "ymm3", got, 32), 0);
    assert_memory_equal(got + 16, (uint8_t[16]){0}, 16);
    assert_return_code(regs_put(&r, "ymm3", vector, 32), 0);
    assert_return_code(regs_write(&r, NULL), 0);
    regs_done(&r);
    assert_return_code(ptrace_ops_cont(c.pid, 0), 0);
    usleep(1000);
    child_interrupt(&c);
    assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
    assert_return_code(regs_get(&r, "ymm3", got, 32), 0);
    assert_memory_equal(got, vector, 32);
    assert_return_code(regs_get(&r, "ymm4", got, 32), 0);
    assert_memory_equal(got + 16, (uint8_t[16]){0}, 16);
    regs_done(&r);
    child_finish(&c);
}

static void a_debug_register_is_a_word_of_struct_user(void **state)
{
    const size_t dr0 = offsetof(struct user, u_debugreg);
    struct child c = {0};
    unsigned long word = 1;

    child_start_function(&c, spin);
    child_interrupt(&c);
    assert_return_code(ptrace_ops_peek_user(c.pid, dr0, &word), 0);
    assert_int_equal(word, 0);
    assert_return_code(ptrace_ops_poke_user(c.pid, dr0, (uintptr_t)spin), 0);
    assert_return_code(ptrace_ops_peek_user(c.pid, dr0, &word), 0);
    assert_int_equal(word, (uintptr_t)spin);
    assert_int_equal(ptrace_ops_peek_user(c.pid, 1, &word), -EIO);
    assert_int_equal(word, (uintptr_t)spin);
    child_finish(&c);
}

static void a_role_is_read_and_written(void **state)
{
    struct child c = {0};
    uint64_t pc, value;

    child_start_function(&c, spin);
    child_interrupt(&c);
    assert_return_code(regs_write_role(c.pid, ARCH_RESULT, UINT64_MAX), 0);
    assert_return_code(regs_read_role(c.pid, ARCH_RESULT, &value), 0);
    assert_int_equal(value, UINT64_MAX);
    assert_return_code(regs_read_role(c.pid, ARCH_PC, &pc), 0);
    assert_return_code(regs_write_role(c.pid, ARCH_PC, pc - 1), 0);
    assert_return_code(regs_read_role(c.pid, ARCH_PC, &value), 0);
    assert_int_equal(value, pc - 1);
    child_finish(&c);
    assert_int_equal(regs_write_role(c.pid, ARCH_PC, value), -ESRCH);
}

__attribute__((noreturn)) static void jumped_here(void)
{
    _exit(42);
}

static int sleep_in_a_call(void)
{
    for (;;)
        pause();
    return 0;
}

/* Stopped in pause(), the kernel would set the program counter back by two bytes, into the middle
 * of whatever comes before. */
static void a_program_counter_that_is_put_into_a_call_stays(void **state)
{
    uint64_t pc, sp;
    struct child c = {0};
    siginfo_t info;
    bool restarts = false;

    child_start_function(&c, sleep_in_a_call);
    for (int i = 0; i < 1000 && !restarts; i++) {
        _cleanup_regs_ struct regs r = {0};

        child_interrupt(&c);
        assert_return_code(regs_open(c.pid, &c.xsave, &r), 0);
        restarts = arch_will_restart(r.arch, r.sets[ARCH_GENERAL].bytes);
        if (!restarts) {
            assert_return_code(ptrace_ops_cont(c.pid, 0), 0);
            usleep(1000);
            continue;
        }
        pc = (uintptr_t)jumped_here;
        sp = (child_number(&r, "rsp") & ~UINT64_C(15)) - 8;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_thread_has_no_registers),
        cmocka_unit_test(a_thread_that_was_killed_has_none_any_more),
        cmocka_unit_test(unknown_names_and_wrong_sizes_are_refused),
#ifdef __x86_64__
        cmocka_unit_test(a_write_that_is_refused_half_way_changes_nothing),
        cmocka_unit_test(a_bad_segment_is_refused),
        cmocka_unit_test(a_component_that_a_thread_does_not_use_can_be_written),
        cmocka_unit_test(a_debug_register_is_a_word_of_struct_user),
        cmocka_unit_test(a_role_is_read_and_written),
        cmocka_unit_test(a_program_counter_that_is_put_into_a_call_stays),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
