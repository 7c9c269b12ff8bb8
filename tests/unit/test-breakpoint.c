/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/space.h"
#include "tests/unit/trace-fixture.h"

/* Software breakpoints on real programs, which must not notice. The tracees are forks of the test,
 * so that its functions lie at the same addresses. */

#ifndef __x86_64__
int main(void)
{
    printf("skipped: breakpoints are tested on x86_64\n");
    return 77;
}
#else

/* Functions from one number to another, each with another kind of instruction in front. */
#define FUNCTION(name, ...)                                                                        \
    __asm__(".text\n.type " #name ", @function\n.p2align 4\n" #name ":\n" __VA_ARGS__              \
            "\n.size " #name ", . - " #name "\n.data\n" #name "_word: .quad 7\n.text\n");          \
    long name(long)

FUNCTION(f_push, "push %rbp\nlea 1(%rdi), %rax\npop %rbp\nret");
FUNCTION(f_nop, "nop\nlea 1(%rdi), %rax\nret");
FUNCTION(f_relative, "mov f_relative_word(%rip), %rax\nlea -6(%rdi, %rax), %rax\nret");
FUNCTION(f_multiply, "imul $3, %rdi, %rax\nsub %rdi, %rax\nsub %rdi, %rax\ninc %rax\nret");
FUNCTION(f_call, "call 1f\nret\n1: lea 1(%rdi), %rax\nret");
FUNCTION(f_jump, "jmp 1f\nud2\n1: lea 1(%rdi), %rax\nret");
FUNCTION(f_branch, "jrcxz 1f\n1: lea 1(%rdi), %rax\nret");
FUNCTION(f_vector, "movq %rdi, %xmm0\nmovq %xmm0, %rax\ninc %rax\nret");
FUNCTION(f_string, "movsb\nmovsb\nlea -1(%rdi), %rax\nret"); /* see call_it() */
FUNCTION(f_flags, "nop\npushf\npopf\nlea 1(%rdi), %rax\nret");
FUNCTION(f_syscall, "syscall\nlea 1(%rdi), %rax\nret");

typedef long function(long);

static const struct {
    const char *name;
    function *call;
} functions[] = {
    {"push", f_push},         {"nop", f_nop},       {"relative", f_relative},
    {"multiply", f_multiply}, {"call", f_call},     {"jump", f_jump},
    {"branch", f_branch},     {"vector", f_vector}, {"string", f_string},
    {"syscall", f_syscall},
};

#define N_FUNCTIONS (sizeof(functions) / sizeof(functions[0]))
#define THREADS 4
#define CALLS_MIN 50u /* for a test to have seen something */

/* Shared with the tracees. */
static volatile struct {
    function *call;
    int go;
    int wrong;
    int traps;
    int signals;
    pid_t tids[THREADS];
    uint64_t calls[THREADS];
    int busy[THREADS];
    int child_status;
    int done;
} * shared;

/* A call that the compiler does not know of leaves the 128 bytes below the stack pointer alone. */
#define OVER_RED_ZONE(name) "sub $128, %%rsp\ncall " name "\nadd $128, %%rsp\n"

static long call_it(function *call, long n)
{
    if (call == f_string) {
        char from[2] = "ab", to[2];
        long result;

        __asm__ volatile(OVER_RED_ZONE("f_string") "sub %1, %0"
                         : "=&a"(result)
                         : "b"(to), "S"(from), "D"(to)
                         : "memory", "cc");
        return to[0] == 'a' && to[1] == 'b' && result == 1 ? n + 1 : -1;
    }
    if (call == f_syscall) {
        long result;

        __asm__ volatile(OVER_RED_ZONE("f_syscall")
                         : "=a"(result)
                         : "a"(SYS_getppid), "D"(n)
                         : "rcx", "r11", "memory", "cc");
        return result;
    }
    return call(n);
}

static void *calls(void *userdata)
{
    int me = (int)(intptr_t)userdata;

    shared->tids[me] = (pid_t)syscall(SYS_gettid);
    for (long n = 0;; n++) {
        while (!shared->go)
            usleep(200);
        shared->busy[me] = 1;
        if (call_it(shared->call, n) != n + 1)
            shared->wrong++;
        shared->calls[me]++;
        shared->busy[me] = 0;
    }
    return NULL;
}

static void start_threads(int n)
{
    pthread_t thread;

    for (intptr_t i = 1; i < n; i++)
        pthread_create(&thread, NULL, calls, (void *)i);
    for (int i = 1; i < n; i++)
        while (!shared->tids[i])
            usleep(200);
}

static int one_thread_calls(int ready)
{
    child_is_ready(ready);
    calls(NULL);
    return 0;
}

static int four_threads_call(int ready)
{
    start_threads(THREADS);
    child_is_ready(ready);
    calls(NULL);
    return 0;
}

static pid_t started;

static pid_t start(int (*child)(int), function *call)
{
    memset((void *)shared, 0, sizeof(*shared));
    shared->call = call;
    started = fixture_start(child);
    return started;
}

/* A test that has failed leaves its tracee, which would disturb the others. */
static int teardown(void **state)
{
    if (started > 0)
        kill(started, SIGKILL);
    return fixture_teardown(state);
}

static struct breakpoint_options at(function *call)
{
    return (struct breakpoint_options){.address = (uint64_t)(uintptr_t)call};
}

static uint32_t add(struct fixture *f, pid_t pid, const struct breakpoint_options *o)
{
    uint32_t id = 0;

    assert_int_equal(breakpoint_add(f->trace, session_find(f->session, pid), o, &id), 0);
    return id;
}

static int drop(struct fixture *f, pid_t pid, uint32_t id)
{
    return breakpoint_remove(f->trace, session_find(f->session, pid), id);
}

static uint64_t all_calls(void)
{
    uint64_t n = 0;

    for (int i = 0; i < THREADS; i++)
        n += shared->calls[i];
    return n;
}

static uint64_t hits_of(struct fixture *f, pid_t pid, uint32_t id)
{
    const struct breakpoint *b;

    TAILQ_FOREACH(b, &session_find(f->session, pid)->breakpoints, breakpoints)
        if (b->id == id)
            return b->hits;
    fail_msg("there is no breakpoint %u", id);
    return 0;
}

static bool any_is_busy(void)
{
    for (int i = 0; i < THREADS; i++)
        if (shared->busy[i])
            return true;
    return false;
}

static void run_threads(struct fixture *f, int msec)
{
    shared->go = 1;
    fixture_serve_for(f, msec);
    for (int i = 0; i < 500 && all_calls() < CALLS_MIN; i++)
        fixture_serve_for(f, 10);
    shared->go = 0;
    /* Until no call is under way; whoever has just seen `go` begins one more. */
    fixture_serve_for(f, 5);
    for (int i = 0; i < 500 && any_is_busy(); i++)
        fixture_serve_for(f, 10);
    assert_false(any_is_busy());
    fixture_serve_for(f, 5);
}

static bool text_is_clean(pid_t pid)
{
    char path[32];
    uint8_t bytes[16];
    bool clean = true;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < N_FUNCTIONS; i++) {
        assert_int_equal(pread(fd, bytes, sizeof(bytes), (off_t)(uintptr_t)functions[i].call),
                         sizeof(bytes));
        clean = clean && memcmp(bytes, (void *)functions[i].call, sizeof(bytes)) == 0;
    }
    close(fd);
    return clean;
}

static void every_kind_of_instruction_is_passed(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < N_FUNCTIONS; i++) {
        pid_t pid = start(one_thread_calls, functions[i].call);
        struct breakpoint_options o = at(functions[i].call);
        uint32_t id;

        o.report_only = true;
        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        id = add(f, pid, &o);
        run_threads(f, 30);
        if (shared->wrong || all_calls() < 10 || hits_of(f, pid, id) != all_calls())
            fail_msg("%s: %lu calls, %lu hits, %d wrong", functions[i].name, all_calls(),
                     hits_of(f, pid, id), shared->wrong);
        assert_int_equal(drop(f, pid, id), 0);
        assert_true(text_is_clean(pid));
        assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
        fixture_kill(f, pid);
    }
}

static void no_thread_slips_by(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < N_FUNCTIONS; i++) {
        pid_t pid = start(four_threads_call, functions[i].call);
        struct breakpoint_options o = at(functions[i].call);
        uint32_t id;

        o.report_only = true;
        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        id = add(f, pid, &o);
        run_threads(f, 60);
        if (shared->wrong || all_calls() < 10 || hits_of(f, pid, id) != all_calls())
            fail_msg("%s: %lu calls, %lu hits, %d wrong", functions[i].name, all_calls(),
                     hits_of(f, pid, id), shared->wrong);
        fixture_kill(f, pid);
    }
}

/* No scratch is free, so that what cannot be emulated steps in place, while all others stand. */
static void thread_steps_in_place_while_all_others_stand(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(four_threads_call, f_multiply);
    struct breakpoint_options o = at(f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add(f, pid, &o);
    session_find(f->session, pid)->process->space->scratch_address = 0;
    run_threads(f, 60);
    assert_int_equal(shared->wrong, 0);
    assert_true(all_calls() > 10);
    assert_int_equal(hits_of(f, pid, id), all_calls());
    fixture_kill(f, pid);
}

static void thread_stands_before_the_instruction_and_reads_its_own_text(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_push);
    function *volatile call = f_push; /* gcc knows no bytes of a function's */
    struct process *p;
    const struct event *e;
    uint8_t bytes[16];
    uint64_t pc;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add(f, pid, &(struct breakpoint_options){.address = (uintptr_t)f_push});
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_BREAKPOINT, 2000);
    assert_non_null(e);
    assert_true(e->stopped);
    assert_int_equal(e->breakpoint.id, id);
    assert_true(e->breakpoint.address == (uintptr_t)f_push);
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == (uintptr_t)f_push);
    p = session_find(f->session, pid)->process;
    assert_int_equal(memory_read(p, pc - 4, bytes, sizeof(bytes)), sizeof(bytes));
    assert_memory_equal(bytes, (const char *)(uintptr_t)call - 4, sizeof(bytes));
    assert_int_equal(memory_read_text(p, pc, bytes, 1), 1);
    assert_int_equal(bytes[0], 0xcc);
    /* Nothing of it is repeated when it goes on, nor when it is stepped off. */
    assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_STEP), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == (uintptr_t)f_push + 1);
    assert_int_equal(shared->calls[0], 0);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_BREAKPOINT);
    assert_int_equal(shared->calls[0], 1);
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_true(text_is_clean(pid));
    usleep(20000);
    assert_true(shared->calls[0] > 1);
    fixture_kill(f, pid);
}

static void step_off_a_displaced_instruction_is_one_step(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_multiply);
    uint64_t pc;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add(f, pid, &(struct breakpoint_options){.address = (uintptr_t)f_multiply});
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_STEP), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == (uintptr_t)f_multiply + 4);
    fixture_kill(f, pid);
}

static void breakpoint_under_a_standing_thread_is_not_hit_again(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_push);
    uint32_t first;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    first = add(f, pid, &(struct breakpoint_options){.address = (uintptr_t)f_push});
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    assert_int_equal(drop(f, pid, first), 0);
    add(f, pid, &(struct breakpoint_options){.address = (uintptr_t)f_push});
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    assert_int_equal(shared->calls[0], 1);
    fixture_kill(f, pid);
}

static void hit_of_a_breakpoint_that_is_gone_is_swallowed(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = start(four_threads_call, f_push);

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    shared->go = 1;
    for (int i = 0; i < 200; i++) {
        uint32_t id = add(f, pid, &o);

        if (i % 3)
            fixture_serve_for(f, 1);
        else
            usleep(500);
        assert_int_equal(drop(f, pid, id), 0);
    }
    run_threads(f, 20);
    assert_int_equal(shared->wrong, 0);
    assert_true(text_is_clean(pid));
    assert_non_null(session_find(f->session, pid));
    fixture_kill(f, pid);
}

void own_trap(void);
__asm__(".text\n.type own_trap, @function\nown_trap: int3\nret\n.size own_trap, . - own_trap\n");

static void on_trap(int signo)
{
    shared->traps++;
}

static int traps_itself(int ready)
{
    signal(SIGTRAP, on_trap);
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    for (int i = 0; i < 10; i++)
        own_trap();
    for (int i = 0; i < 10; i++)
        __asm__ volatile(".byte 0xcd, 0x03");
    raise(SIGTRAP);
    shared->done = 1;
    for (;;)
        pause();
    return 0;
}

static void int3_of_the_program_is_its_own(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = start(traps_itself, f_push);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add(f, pid, &o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(shared->traps, 21);
    fixture_kill(f, pid);
}

static void breakpoint_on_an_int3_of_the_program(void **state)
{
    struct breakpoint_options o = {.address = (uintptr_t)own_trap, .report_only = true};
    struct fixture *f = *state;
    pid_t pid = start(traps_itself, f_push);
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add(f, pid, &o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(shared->traps, 21);
    assert_int_equal(hits_of(f, pid, id), 10);
    fixture_kill(f, pid);
}

static int forks_and_calls(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    if (fork() == 0)
        _exit(shared->call(41) == 42 ? 3 : 4);
    (void)wait((int *)&shared->child_status);
    shared->done = 1;
    for (;;)
        pause();
    return 0;
}

static int vforks_and_calls(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    if (vfork() == 0)
        _exit(shared->call(41) == 42 ? 3 : 4);
    (void)wait((int *)&shared->child_status);
    shared->calls[0] = (uint64_t)shared->call(41);
    shared->done = 1;
    for (;;)
        pause();
    return 0;
}

static void child_is_cleaned(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = start(forks_and_calls, f_push);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add(f, pid, &o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(WEXITSTATUS(shared->child_status), 3);
    assert_true(WIFEXITED(shared->child_status));
    fixture_kill(f, pid);
}

static void child_that_is_followed_keeps_its_breakpoints(void **state)
{
    const struct attach_options follow = {.follow_threads = true, .follow_children = true};
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = start(forks_and_calls, f_push);
    const struct event *e;

    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &FILTER_DEFAULT, follow), 1);
    add(f, pid, &o);
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_BREAKPOINT, 2000);
    assert_non_null(e);
    assert_int_not_equal(e->pid, pid);
    assert_int_equal(fixture_continue(f, f->session, e->pid, e->tid), 1);
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(WEXITSTATUS(shared->child_status), 3);
    fixture_kill(f, pid);
}

static void vfork_child_passes_its_parents_breakpoints_unseen(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;
    pid_t pid = start(vforks_and_calls, f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add(f, pid, &o);
    shared->go = 1;
    for (int i = 0; i < 200 && !shared->done; i++)
        fixture_serve_for(f, 10);
    assert_int_equal(shared->done, 1);
    assert_int_equal(WEXITSTATUS(shared->child_status), 3);
    assert_int_equal(shared->calls[0], 42);
    assert_int_equal(hits_of(f, pid, id), 1);
    fixture_kill(f, pid);
}

static int execs(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(200);
    execl("/bin/sleep", "sleep", "100", NULL);
    return 1;
}

static void exec_forgets_the_breakpoints(void **state)
{
    struct breakpoint_options o = at(f_push);
    struct fixture *f = *state;
    pid_t pid = start(execs, f_push);
    struct attachment *a;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    add(f, pid, &o);
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXEC, 2000));
    a = session_find(f->session, pid);
    assert_true(TAILQ_EMPTY(&a->breakpoints));
    assert_null(a->process->space);
    assert_int_equal(ledger_get_texts_used(f->ledger) > 0 ? ledger_get_text(f->ledger, 0)->pid : 0,
                     0);
    fixture_kill(f, pid);
}

static void thread_that_no_session_traces_passes_unseen(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;
    pid_t pid = start(four_threads_call, f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(
        fixture_attach_with(f, f->session, pid, pid, &FILTER_DEFAULT, (struct attach_options){0}),
        1);
    id = add(f, pid, &o);
    run_threads(f, 60);
    assert_int_equal(shared->wrong, 0);
    assert_true(shared->calls[1] > 1);
    assert_int_equal(hits_of(f, pid, id), shared->calls[0]);
    /* With the last breakpoint they go. */
    assert_int_equal(drop(f, pid, id), 0);
    for (int i = 1; i < THREADS; i++)
        assert_true(is_let_go(f, shared->tids[i]));
    assert_int_equal(proc_tracer(pid), getpid());
    fixture_kill(f, pid);
}

static void detach_under_fire(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;

    o.report_only = true;
    for (int i = 0; i < 20; i++) {
        pid_t pid = start(four_threads_call, i % 2 ? f_multiply : f_push);
        uint64_t before;

        o.address = (uint64_t)(uintptr_t)shared->call;
        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        add(f, pid, &o);
        shared->go = 1;
        fixture_serve_for(f, 5 + i);
        assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
        for (int k = 0; k < THREADS; k++)
            if (shared->tids[k])
                assert_true(is_let_go(f, shared->tids[k]));
        assert_true(text_is_clean(pid));
        before = all_calls();
        usleep(10000);
        assert_true(all_calls() > before);
        assert_int_equal(shared->wrong, 0);
        fixture_kill(f, pid);
    }
}

static void condition_ignore_thread_and_temporary(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(four_threads_call, f_push);
    struct breakpoint_options o = at(f_push);
    uint32_t never, one, ignores, once;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    o.condition = (struct condition){
        .set = true, .operator= CONDITION_EQUAL, .name = "rdi", .constant = UINT64_MAX};
    never = add(f, pid, &o);
    o.condition = (struct condition){0};
    o.tid = shared->tids[2];
    one = add(f, pid, &o);
    o.tid = 0;
    o.ignore = 5;
    ignores = add(f, pid, &o);
    o.ignore = 0;
    o.temporary = true;
    once = add(f, pid, &o);
    run_threads(f, 50);
    assert_true(all_calls() > 20);
    assert_int_equal(hits_of(f, pid, never), 0);
    assert_int_equal(hits_of(f, pid, one), shared->calls[2]);
    assert_int_equal(hits_of(f, pid, ignores), all_calls() - 5);
    assert_int_equal(drop(f, pid, once), -ENOENT);
    fixture_kill(f, pid);
}

static void on_timer(int signo)
{
    shared->signals++;
}

static int calls_between_signals(int ready)
{
    const struct itimerval often = {{0, 300}, {0, 300}};

    signal(SIGALRM, on_timer);
    child_is_ready(ready);
    setitimer(ITIMER_REAL, &often, NULL);
    calls(NULL);
    return 0;
}

static void signal_on_the_way_makes_no_second_hit(void **state)
{
    struct breakpoint_options o = at(f_multiply);
    struct fixture *f = *state;
    pid_t pid = start(calls_between_signals, f_multiply);
    uint32_t id;

    o.report_only = true;
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add(f, pid, &o);
    run_threads(f, 300);
    assert_int_equal(shared->wrong, 0);
    assert_true(shared->signals > 20);
    assert_int_equal(hits_of(f, pid, id), all_calls());
    fixture_kill(f, pid);
}

static void place_that_is_no_text_is_refused(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_push);
    struct attachment *a;
    static int data;
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    a = session_find(f->session, pid);
#define REFUSED(where, error)                                                                      \
    assert_int_equal(                                                                              \
        breakpoint_add(f->trace, a, &(struct breakpoint_options){.address = (where)}, &id), error)
    REFUSED((uintptr_t)&data, -EACCES);
    REFUSED((uintptr_t)shared, -EACCES);
    REFUSED(0, -EFAULT);
    REFUSED(UINT64_MAX, -EFAULT);
    REFUSED(UINT64_C(1) << 63, -EFAULT);
    a->process->memory.lent_for_writing = true;
    REFUSED((uintptr_t)f_push, -ETXTBSY);
#undef REFUSED
    assert_true(TAILQ_EMPTY(&a->breakpoints));
    assert_int_equal(breakpoint_remove(f->trace, a, 1), -ENOENT);
    fixture_kill(f, pid);
}

static void text_that_is_written_over_a_breakpoint(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_nop);
    struct process *p;
    uint8_t bytes[4];
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add(f, pid, &(struct breakpoint_options){.address = (uintptr_t)f_nop});
    p = session_find(f->session, pid)->process;
    /* Two bytes that end in the breakpoint, and three from it on. */
    assert_int_equal(memory_write(p, (uintptr_t)f_nop - 1, "\x90\x66", 2), 2);
    assert_int_equal(memory_read(p, (uintptr_t)f_nop - 1, bytes, 4), 4);
    assert_memory_equal(bytes, "\x90\x66", 2);
    assert_int_equal(memory_read_text(p, (uintptr_t)f_nop, bytes, 1), 1);
    assert_int_equal(bytes[0], 0xcc);
    assert_int_equal(drop(f, pid, id), 0);
    assert_int_equal(memory_read_text(p, (uintptr_t)f_nop, bytes, 1), 1);
    assert_int_equal(bytes[0], 0x66);
    fixture_kill(f, pid);
}

static void stepped_pushf_stores_no_trap_flag(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_flags);
    uint32_t id;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    id = add(f, pid, &(struct breakpoint_options){.address = (uintptr_t)f_flags});
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_BREAKPOINT, 2000));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fixture_continue_in(f, f->session, pid, pid, RESUME_STEP), 1);
        assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STEP);
    }
    assert_int_equal(drop(f, pid, id), 0);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_null(fixture_find(f, f->session, EVENT_SIGNAL, 50));
    assert_true(shared->calls[0] > 1);
    fixture_kill(f, pid);
}

static void breakpoint_behind_a_call_that_is_under_way(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_syscall);
    const uint64_t behind = (uint64_t)(uintptr_t)f_syscall + 2;
    uint64_t pc = 0;

    filter.stops = EVENT_BIT(EVENT_SYSCALL_ENTER);
    assert_int_equal(filter_add_call(&filter, SYS_getppid), 0);
    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_SYSCALL_ENTER, 2000));
    assert_int_equal(regs_read_role(pid, ARCH_PC, &pc), 0);
    assert_true(pc == behind);
    /* It stands there, but has not come there yet. */
    add(f, pid, &(struct breakpoint_options){.address = behind});
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_BREAKPOINT);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_SYSCALL_ENTER);
    assert_int_equal(shared->calls[0], 1);
    assert_int_equal(shared->wrong, 0);
    fixture_kill(f, pid);
}

static void neighbours_are_masked_too(void **state)
{
    function *volatile call = f_relative;
    struct fixture *f = *state;
    pid_t pid = start(one_thread_calls, f_relative);
    const uint64_t begin = (uint64_t)(uintptr_t)f_relative;
    struct process *p;
    uint8_t bytes[4];

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    for (uint64_t i = 0; i < 8; i++)
        add(f, pid, &(struct breakpoint_options){.address = begin + i});
    p = session_find(f->session, pid)->process;
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(memory_read(p, begin + i, bytes, sizeof(bytes)), sizeof(bytes));
        assert_memory_equal(bytes, (const char *)(uintptr_t)call + i, sizeof(bytes));
    }
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, teardown)
        TEST(every_kind_of_instruction_is_passed),
        TEST(no_thread_slips_by),
        TEST(thread_steps_in_place_while_all_others_stand),
        TEST(thread_stands_before_the_instruction_and_reads_its_own_text),
        TEST(step_off_a_displaced_instruction_is_one_step),
        TEST(breakpoint_under_a_standing_thread_is_not_hit_again),
        TEST(hit_of_a_breakpoint_that_is_gone_is_swallowed),
        TEST(int3_of_the_program_is_its_own),
        TEST(breakpoint_on_an_int3_of_the_program),
        TEST(child_is_cleaned),
        TEST(child_that_is_followed_keeps_its_breakpoints),
        TEST(vfork_child_passes_its_parents_breakpoints_unseen),
        TEST(exec_forgets_the_breakpoints),
        TEST(thread_that_no_session_traces_passes_unseen),
        TEST(detach_under_fire),
        TEST(condition_ignore_thread_and_temporary),
        TEST(signal_on_the_way_makes_no_second_hit),
        TEST(place_that_is_no_text_is_refused),
        TEST(text_that_is_written_over_a_breakpoint),
        TEST(neighbours_are_masked_too),
        TEST(stepped_pushf_stores_no_trap_flag),
        TEST(breakpoint_behind_a_call_that_is_under_way),
#undef TEST
    };

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests_name("breakpoint", tests, NULL, NULL);
}
#endif
