/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"
#include "tests/unit/hardware-fixture.h"

static struct orders *orders;
volatile uint8_t buffer[64] __attribute__((aligned(64)));

__asm__(".globl called\n.type called, @function\ncalled: incl (%rdi)\n nop\n ret\n");

/* ---- the child ------------------------------------------------------------------------------ */

static void *write_in_a_thread(void *unused)
{
    buffer[8] = 1;
    return NULL;
}

static void start_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, write_in_a_thread, NULL) == 0)
        pthread_join(thread, NULL);
}

static void let_kernel_write(void)
{
    int fds[2];

    if (pipe(fds) < 0 || write(fds[1], "0123456789abcdef", 16) != 16 ||
        read(fds[0], (void *)buffer, 16) != 16)
        _exit(90);
    close(fds[0]);
    close(fds[1]);
}

static void start_child(void)
{
    pid_t pid = fork();
    siginfo_t info;

    if (pid == 0) {
        buffer[8] = 1;
        _exit(0);
    }
    if (wait_thread(pid, 0, &info) != 1 || info.si_code != CLD_EXITED)
        _exit(91);
}

static void obey(void)
{
    switch (orders->order) {
    case READ:
        (void)buffer[orders->offset];
        break;
    case WRITE:
        buffer[orders->offset] = 1;
        break;
    case WRITE_WORD:
        *(volatile uint64_t *)(buffer + orders->offset) = 1;
        break;
    case CALL:
        called(&orders->calls);
        break;
    case LET_KERNEL_WRITE:
        let_kernel_write();
        break;
    case START_THREAD:
        start_thread();
        break;
    case FORK:
        start_child();
        break;
    case EXEC:
        execl("/bin/true", "true", NULL);
        _exit(92);
    }
}

void child_waits_for_test(void)
{
    while (!orders->go)
        usleep(100);
}

static int obeys(void)
{
    child_waits_for_test();
    for (;;) {
        raise(SIGUSR1);
        obey();
    }
    return 0;
}

/* ---- the test ------------------------------------------------------------------------------- */

int thread_resume(pid_t tid)
{
    siginfo_t info;

    assert_return_code(ptrace_ops_cont(tid, 0), 0);
    assert_int_equal(wait_thread(tid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    return info.si_status;
}

void thread_step(pid_t tid)
{
    siginfo_t info;

    assert_return_code(ptrace_ops_step(tid, 0), 0);
    assert_int_equal(wait_thread(tid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    assert_int_equal(info.si_status, SIGTRAP);
}

int scene_setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->orders = orders =
        mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(orders != MAP_FAILED);
    *state = s;
    return 0;
}

/* Not in scene_setup(): an assertion there would leave the child behind. */
void scene_start_function(struct scene *s, int (*function)(void))
{
    s->orders->go = false;
    child_start_function(&s->child, function);
    child_interrupt(&s->child);
    assert_return_code(
        ptrace_ops_set_options(s->child.pid, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC), 0);
    s->orders->go = true;
    assert_int_equal(thread_resume(s->child.pid), SIGUSR1);
}

struct scene *scene_start(void **state)
{
    scene_start_function(*state, obeys);
    return *state;
}

int scene_teardown(void **state)
{
    struct scene *s = *state;

    if (s->child.pid > 0)
        child_finish(&s->child);
    munmap(s->orders, sizeof(*s->orders));
    free(s);
    return 0;
}

void scene_order(struct scene *s, enum order what, unsigned offset)
{
    s->orders->order = what;
    s->orders->offset = offset;
}

int scene_add(struct scene *s, const volatile void *address, unsigned size, enum hardware_kind kind)
{
    int slot = hardware_add(&s->hardware, (uintptr_t)address, size, kind, 0);

    assert_true(slot >= 0);
    return slot;
}

void scene_sync(struct scene *s)
{
    assert_return_code(hardware_sync(&s->hardware, s->child.pid, &s->known), 0);
    assert_int_equal(s->known, s->hardware.generation);
}

void thread_assert_hit(pid_t tid, uint32_t expected, bool expected_step)
{
    uint32_t mask;
    siginfo_t info;
    bool stepped;

    assert_return_code(ptrace_ops_get_siginfo(tid, &info), 0);
    assert_int_equal(info.si_code, expected_step ? TRAP_TRACE : TRAP_HWBKPT);
    assert_return_code(hardware_read_hits(tid, &mask, &stepped), 0);
    assert_int_equal(mask, expected);
    assert_int_equal(stepped, expected_step);
    assert_return_code(hardware_read_hits(tid, &mask, &stepped), 0);
    assert_int_equal(mask, 0);
    assert_false(stepped);
}

void scene_expect(struct scene *s, enum order what, unsigned offset, uint32_t mask)
{
    scene_order(s, what, offset);
    if (mask != 0) {
        assert_int_equal(thread_resume(s->child.pid), SIGTRAP);
        thread_assert_hit(s->child.pid, mask, false);
    }
    assert_int_equal(thread_resume(s->child.pid), SIGUSR1);
}
