/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <unistd.h>

#include "daemon/trace/hardware.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"
#include "tests/unit/regs-fixture.h"

/* Debug registers of real threads. No root. */

#ifdef __x86_64__
enum order { READ, WRITE, WRITE_WORD, CALL, LET_KERNEL_WRITE, START_THREAD, FORK, EXEC };

/* The child does what it is told and says so with SIGUSR1, at whose stop the test tells it the
 * next: what does not trap comes as SIGUSR1 at once, so no test waits for nothing to happen. */
struct scene {
    struct child child;
    struct hardware hardware;
    uint32_t known;
    struct orders {
        enum order order;
        unsigned offset;
        int calls;        /* of called() */
        volatile bool go; /* a signal before the test has attached would end it */
    } * orders;
};

static struct orders *orders;
static volatile uint8_t buffer[64] __attribute__((aligned(64)));

/* Says where it is entered, which a C function's address need not be. */
void called(volatile int *count);
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

static void wait_for_test(void)
{
    while (!orders->go)
        usleep(100);
}

static int obeys(void)
{
    wait_for_test();
    for (;;) {
        raise(SIGUSR1);
        obey();
    }
    return 0;
}

/* ---- the test ------------------------------------------------------------------------------- */

/* Runs a thread to its next stop. */
static int resume(pid_t tid)
{
    siginfo_t info;

    assert_return_code(ptrace_ops_cont(tid, 0), 0);
    assert_int_equal(wait_thread(tid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    return info.si_status;
}

static void step(pid_t tid)
{
    siginfo_t info;

    assert_return_code(ptrace_ops_step(tid, 0), 0);
    assert_int_equal(wait_thread(tid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    assert_int_equal(info.si_status, SIGTRAP);
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->orders = orders =
        mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(orders != MAP_FAILED);
    *state = s;
    return 0;
}

/* Not in setup(): an assertion there would leave the child behind. */
static void start_function(struct scene *s, int (*function)(void))
{
    s->orders->go = false;
    child_start_function(&s->child, function);
    child_interrupt(&s->child);
    assert_return_code(
        ptrace_ops_set_options(s->child.pid, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC), 0);
    s->orders->go = true;
    assert_int_equal(resume(s->child.pid), SIGUSR1);
}

static struct scene *start(void **state)
{
    start_function(*state, obeys);
    return *state;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    if (s->child.pid > 0)
        child_finish(&s->child);
    munmap(s->orders, sizeof(*s->orders));
    free(s);
    return 0;
}

static void order(struct scene *s, enum order what, unsigned offset)
{
    s->orders->order = what;
    s->orders->offset = offset;
}

static int add(struct scene *s, const volatile void *address, unsigned size,
               enum hardware_kind kind)
{
    int slot = hardware_add(&s->hardware, (uintptr_t)address, size, kind, 0);

    assert_true(slot >= 0);
    return slot;
}

static void sync_now(struct scene *s)
{
    assert_return_code(hardware_sync(&s->hardware, s->child.pid, &s->known), 0);
    assert_int_equal(s->known, s->hardware.generation);
}

/* The thread stands at a hit of just these slots. */
static void assert_hit(pid_t tid, uint32_t expected, bool expected_step)
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

/* What is to be done hits these slots once, or none. */
static void expect(struct scene *s, enum order what, unsigned offset, uint32_t mask)
{
    order(s, what, offset);
    if (mask != 0) {
        assert_int_equal(resume(s->child.pid), SIGTRAP);
        assert_hit(s->child.pid, mask, false);
    }
    assert_int_equal(resume(s->child.pid), SIGUSR1);
}

static void each_kind_and_size_hits_its_bytes_and_not_their_neighbours(void **state)
{
    static const enum hardware_kind kinds[] = {HARDWARE_WRITE, HARDWARE_READ_WRITE};
    struct scene *s = start(state);

    for (unsigned k = 0; k < 2; k++)
        for (unsigned size = 1; size <= 8; size *= 2) {
            int slot = add(s, buffer + 8, size, kinds[k]);
            uint32_t mask = UINT32_C(1) << slot;

            sync_now(s);
            for (unsigned offset = 7; offset <= 8 + size; offset++) {
                bool inside = offset >= 8 && offset < 8 + size;

                expect(s, WRITE, offset, inside ? mask : 0);
                expect(s, READ, offset, inside && kinds[k] == HARDWARE_READ_WRITE ? mask : 0);
            }
            hardware_remove(&s->hardware, (unsigned)slot);
        }
}

static void one_access_hits_every_slot_that_it_touches(void **state)
{
    struct scene *s = start(state);

    add(s, buffer + 8, 1, HARDWARE_WRITE);
    add(s, buffer + 24, 8, HARDWARE_WRITE);
    add(s, buffer + 14, 2, HARDWARE_READ_WRITE);
    add(s, buffer + 12, 4, HARDWARE_WRITE);
    sync_now(s);
    expect(s, WRITE_WORD, 8, 1 | 4 | 8);
    expect(s, WRITE_WORD, 16, 0);
    expect(s, WRITE, 31, 2);
}

static void the_kernels_own_writes_are_not_seen(void **state)
{
    struct scene *s = start(state);

    add(s, buffer + 8, 8, HARDWARE_READ_WRITE);
    sync_now(s);
    expect(s, LET_KERNEL_WRITE, 0, 0);
    expect(s, READ, 8, 1);
}

static uint64_t pc(pid_t tid)
{
    uint64_t value;

    assert_return_code(regs_read_role(tid, ARCH_PC, &value), 0);
    return value;
}

/* Stands at called() before it has done anything. */
static void run_to_call(struct scene *s)
{
    order(s, CALL, 0);
    s->orders->calls = 0;
    assert_int_equal(resume(s->child.pid), SIGTRAP);
    assert_hit(s->child.pid, 1, false);
    assert_int_equal(pc(s->child.pid), (uintptr_t)called);
    assert_int_equal(s->orders->calls, 0);
}

static void write_flags(pid_t tid, uint64_t clear, uint64_t set)
{
    uint64_t flags;

    assert_return_code(regs_read_role(tid, ARCH_FLAGS, &flags), 0);
    assert_return_code(regs_write_role(tid, ARCH_FLAGS, (flags & ~clear) | set), 0);
}

#define RF UINT64_C(0x10000)

static void an_execute_slot_stops_before_and_is_passed_once(void **state)
{
    struct scene *s = start(state);
    pid_t tid = s->child.pid;

    add(s, (void *)called, 1, HARDWARE_EXECUTE);
    sync_now(s);

    run_to_call(s);
    assert_int_equal(resume(tid), SIGUSR1);
    assert_int_equal(s->orders->calls, 1);

    run_to_call(s);
    step(tid);
    assert_hit(tid, 0, true);
    assert_int_equal(s->orders->calls, 1);
    assert_int_equal(resume(tid), SIGUSR1);

    run_to_call(s); /* registers written back */
    write_flags(tid, 0, 0);
    assert_int_equal(resume(tid), SIGUSR1);

    run_to_call(s); /* an interrupt before it has gone on */
    assert_return_code(ptrace_ops_interrupt(tid), 0);
    assert_int_equal(resume(tid), SIGTRAP | PTRACE_EVENT_STOP << 8);
    assert_int_equal(pc(tid), (uintptr_t)called);
    assert_int_equal(resume(tid), SIGUSR1);

    run_to_call(s); /* without the flag it hits again */
    write_flags(tid, RF, 0);
    assert_int_equal(resume(tid), SIGTRAP);
    assert_hit(tid, 1, false);
    assert_int_equal(s->orders->calls, 0);
    assert_int_equal(resume(tid), SIGUSR1);
    assert_int_equal(s->orders->calls, 1);
}

/* What has to be known where a breakpoint is set at the program counter. */
static void a_slot_set_where_a_thread_stands_hits_unless_the_flag_passes_it(void **state)
{
    struct scene *s = start(state);
    pid_t tid = s->child.pid;
    int slot;

    slot = add(s, (void *)called, 1, HARDWARE_EXECUTE);
    sync_now(s);
    for (int pass = 0; pass < 2; pass++) {
        uint64_t next;

        run_to_call(s);
        step(tid);
        assert_hit(tid, 0, true);
        next = pc(tid);
        hardware_remove(&s->hardware, (unsigned)slot);
        slot = add(s, (void *)next, 1, HARDWARE_EXECUTE); // NOLINT(performance-no-int-to-ptr)
        sync_now(s);
        if (pass)
            write_flags(tid, 0, RF);
        else {
            step(tid); /* and no step was done */
            assert_hit(tid, 1, false);
            assert_int_equal(pc(tid), next);
        }
        assert_int_equal(resume(tid), SIGUSR1);
        hardware_remove(&s->hardware, (unsigned)slot);
        slot = add(s, (void *)called, 1, HARDWARE_EXECUTE);
        sync_now(s);
    }
}

static void a_step_over_a_watched_write_tells_both(void **state)
{
    struct scene *s = start(state);
    uint32_t mask = 0;
    bool stepped = false;

    add(s, buffer + 8, 1, HARDWARE_WRITE);
    sync_now(s);
    order(s, WRITE, 8);
    for (int i = 0; i < 1000 && mask == 0; i++) {
        siginfo_t info;

        step(s->child.pid);
        assert_return_code(ptrace_ops_get_siginfo(s->child.pid, &info), 0);
        assert_int_equal(info.si_code, TRAP_TRACE);
        assert_return_code(hardware_read_hits(s->child.pid, &mask, &stepped), 0);
        assert_true(stepped);
    }
    assert_int_equal(mask, 1);
    assert_int_equal(resume(s->child.pid), SIGUSR1);
}

/* The same slot, with an address that its former length did not allow. */
static void a_slot_takes_another_address_and_length(void **state)
{
    struct scene *s = start(state);

    assert_int_equal(add(s, buffer + 8, 8, HARDWARE_WRITE), 0);
    sync_now(s);
    hardware_remove(&s->hardware, 0);
    assert_int_equal(add(s, buffer + 13, 1, HARDWARE_WRITE), 0);
    sync_now(s);
    expect(s, WRITE, 12, 0);
    expect(s, WRITE, 13, 1);
    hardware_remove(&s->hardware, 0);
    sync_now(s);
    expect(s, WRITE, 13, 0);
}

static void a_slot_of_another_thread_does_not_hit(void **state)
{
    struct scene *s = start(state);
    pid_t tid = s->child.pid;

    assert_int_equal(hardware_add(&s->hardware, (uintptr_t)buffer + 8, 1, HARDWARE_WRITE, tid + 1),
                     0);
    assert_int_equal(hardware_add(&s->hardware, (uintptr_t)buffer + 9, 1, HARDWARE_WRITE, tid), 1);
    sync_now(s);
    expect(s, WRITE, 8, 0);
    expect(s, WRITE, 9, 2);
}

/* The new thread stands in its first stop. */
static pid_t run_to_thread(struct scene *s)
{
    unsigned long tid;
    siginfo_t info;

    order(s, START_THREAD, 0);
    assert_int_equal(resume(s->child.pid), SIGTRAP | PTRACE_EVENT_CLONE << 8);
    assert_return_code(ptrace_ops_get_event_message(s->child.pid, &tid), 0);
    assert_int_equal(wait_thread((pid_t)tid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    return (pid_t)tid;
}

static void a_new_thread_has_none_until_it_is_synced(void **state)
{
    struct scene *s = start(state);

    add(s, buffer + 8, 4, HARDWARE_WRITE);
    sync_now(s);
    for (int synced = 0; synced < 2; synced++) {
        pid_t tid = run_to_thread(s);
        uint32_t known = 0;
        siginfo_t info;

        if (synced) {
            assert_return_code(hardware_sync(&s->hardware, tid, &known), 0);
            assert_int_equal(resume(tid), SIGTRAP);
            assert_hit(tid, 1, false);
        }
        assert_return_code(ptrace_ops_cont(tid, 0), 0);
        assert_int_equal(wait_thread(tid, 0, &info), 1);
        assert_int_equal(info.si_code, CLD_EXITED);
        assert_int_equal(resume(s->child.pid), SIGUSR1);
    }
}

static void a_fork_child_has_none(void **state)
{
    struct scene *s = start(state);

    add(s, buffer + 8, 4, HARDWARE_WRITE);
    sync_now(s);
    order(s, FORK, 0); /* the child of which SIGTRAP would kill */
    assert_int_equal(resume(s->child.pid), SIGCHLD);
    assert_int_equal(resume(s->child.pid), SIGUSR1);
    expect(s, WRITE, 8, 1);
}

static void ends(struct scene *s, int code, int status)
{
    siginfo_t info;

    assert_int_equal(wait_thread(s->child.pid, 0, &info), 1);
    s->child.pid = 0;
    if (info.si_code == CLD_DUMPED)
        info.si_code = CLD_KILLED;
    assert_int_equal(info.si_code, code);
    assert_int_equal(info.si_status, status);
}

static void an_exec_takes_them_away(void **state)
{
    struct scene *s = start(state);
    unsigned long address;

    add(s, buffer + 8, 4, HARDWARE_WRITE);
    sync_now(s);
    order(s, EXEC, 0);
    assert_int_equal(resume(s->child.pid), SIGTRAP | PTRACE_EVENT_EXEC << 8);
    assert_return_code(
        ptrace_ops_peek_user(s->child.pid, offsetof(struct user, u_debugreg), &address), 0);
    assert_int_equal(address, 0);
    hardware_remove(&s->hardware, 0);
    sync_now(s); /* the old generation is no harm */
    assert_return_code(ptrace_ops_cont(s->child.pid, 0), 0);
    ends(s, CLD_EXITED, 0);
}

/* The child writes and then ends, with nobody there to take its signals. */
static int writes_and_ends(void)
{
    wait_for_test();
    raise(SIGUSR1);
    buffer[8] = 1;
    return 7;
}

static void a_thread_runs_on_over_the_variable_once_it_is_cleared(void **state)
{
    struct scene *s = *state;

    for (int cleared = 0; cleared < 2; cleared++) {
        s->known = 0;
        start_function(s, writes_and_ends);
        if (!cleared)
            add(s, buffer + 8, 1, HARDWARE_WRITE);
        sync_now(s);
        if (cleared) {
            assert_return_code(hardware_clear(s->child.pid, &s->known), 0);
            assert_int_equal(s->known, 0);
        }
        assert_return_code(ptrace_ops_detach(s->child.pid, 0), 0);
        /* Left in place they outlive the detach, and kill: the reason for all this. */
        ends(s, cleared ? CLD_EXITED : CLD_KILLED, cleared ? 7 : SIGTRAP);
    }
}

static void clearing_leaves_no_trace(void **state)
{
    struct scene *s = start(state);
    unsigned long word;

    add(s, buffer + 8, 1, HARDWARE_WRITE);
    add(s, buffer + 16, 8, HARDWARE_READ_WRITE);
    sync_now(s);
    order(s, WRITE, 8);
    assert_int_equal(resume(s->child.pid), SIGTRAP);
    s->known = UINT32_MAX; /* what a guardian knows */
    assert_return_code(hardware_clear(s->child.pid, &s->known), 0);
    for (size_t i = 0; i < 8; i++) {
        const size_t offset = offsetof(struct user, u_debugreg[i]);

        if (i == 4 || i == 5)
            continue;
        assert_return_code(ptrace_ops_peek_user(s->child.pid, offset, &word), 0);
        assert_int_equal(word, i == 6 ? 0xffff0ff0 : 0);
    }
    sync_now(s); /* and they can come back */
    assert_int_equal(resume(s->child.pid), SIGUSR1);
    expect(s, WRITE, 16, 2);
}

static void assert_refused(struct scene *s, pid_t tid)
{
    uint32_t known = 1, mask = 77;
    bool stepped;

    assert_int_equal(hardware_sync(&s->hardware, tid, &known), -ESRCH);
    assert_int_equal(hardware_clear(tid, &known), -ESRCH);
    assert_int_equal(known, 1);
    assert_int_equal(hardware_read_hits(tid, &mask, &stepped), -ESRCH);
    assert_int_equal(mask, 77);
}

static void a_thread_that_runs_or_is_gone_is_told(void **state)
{
    struct scene *s = *state;
    pid_t tid;

    add(s, buffer + 8, 1, HARDWARE_WRITE);
    add(s, buffer + 9, 1, HARDWARE_WRITE);
    child_start_function(&s->child, obeys);
    tid = s->child.pid;
    assert_refused(s, tid);
    kill(tid, SIGKILL);
    ends(s, CLD_KILLED, SIGKILL);
    assert_refused(s, tid);
}

/* Not even asked: it need not stand, nor be. */
static void nothing_is_written_while_nothing_is_set(void **state)
{
    struct hardware h = {0};
    uint32_t known = 0;

    assert_return_code(hardware_sync(&h, INT32_MAX, &known), 0);
    assert_return_code(hardware_clear(INT32_MAX, &known), 0);
    assert_int_equal(hardware_add(&h, 0x1000, 1, HARDWARE_WRITE, 0), 0);
    hardware_remove(&h, 0);
    assert_return_code(hardware_sync(&h, INT32_MAX, &known), 0);
    assert_int_equal(known, h.generation);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(each_kind_and_size_hits_its_bytes_and_not_their_neighbours),
        test(one_access_hits_every_slot_that_it_touches),
        test(the_kernels_own_writes_are_not_seen),
        test(an_execute_slot_stops_before_and_is_passed_once),
        test(a_slot_set_where_a_thread_stands_hits_unless_the_flag_passes_it),
        test(a_step_over_a_watched_write_tells_both),
        test(a_slot_takes_another_address_and_length),
        test(a_slot_of_another_thread_does_not_hit),
        test(a_new_thread_has_none_until_it_is_synced),
        test(a_fork_child_has_none),
        test(an_exec_takes_them_away),
        test(a_thread_runs_on_over_the_variable_once_it_is_cleared),
        test(clearing_leaves_no_trace),
        test(a_thread_that_runs_or_is_gone_is_told),
        cmocka_unit_test(nothing_is_written_while_nothing_is_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 77; /* skipped */
}
#endif
