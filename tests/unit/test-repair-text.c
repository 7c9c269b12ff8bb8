/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/hardware.h"
#include "daemon/trace/lastwait.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/repair.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"
#include "tests/unit/trace-fixture.h"

/* Tracers that are killed under breakpoints, at any moment, and programs that must not notice. The
 * tracer is the real core in a process of its own; the test is its guardian. PTRACED_TEST_ROUNDS
 * tells how often each. */

#ifndef __x86_64__
int main(void)
{
    printf("skipped: breakpoints are tested on x86_64\n");
    return 77;
}
#else

#define FUNCTION(name, ...)                                                                        \
    __asm__(".text\n.type " #name ", @function\n.p2align 4\n" #name ":\n" __VA_ARGS__              \
            "\n.size " #name ", . - " #name "\n");                                                 \
    long name(long)

FUNCTION(f_push, "push %rbp\nlea 1(%rdi), %rax\npop %rbp\nret");
FUNCTION(f_multiply, "imul $3, %rdi, %rax\nsub %rdi, %rax\nsub %rdi, %rax\ninc %rax\nret");
FUNCTION(f_convert, "cdqe\nlea 1(%rdi), %rax\nret"); /* two bytes, displaced or emulated */

typedef long function(long);

#define THREADS 2

static volatile struct {
    function *call;
    useconds_t pause;
    int wrong;
    int continued;
    bool is_seized;
    bool is_picky; /* has a processor and a real-time class of its own choice */
    uint64_t calls[THREADS];
} * shared;

static struct ledger *ledger;
static pid_t target, tracer;
static cpu_set_t processors, one_processor; /* ours; the last of them */
static bool is_picky;
static enum {
    BREAKS,
    WATCHES,
    STEPS,
    STANDS,
} tracer_does;

/* ---- the program ---------------------------------------------------------------------------- */

static void *calls(void *userdata)
{
    intptr_t me = (intptr_t)userdata;

    for (long n = 0;; n++) {
        if (shared->call(n) != n + 1)
            shared->wrong++;
        shared->calls[me]++;
        if (shared->pause > 0)
            usleep(shared->pause);
    }
    return NULL;
}

static void on_continue(int signo)
{
    shared->continued++;
}

/* What ends it shall end it, and not as a failure of the test's. */
static void begin(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    signal(SIGCONT, on_continue);
}

static int two_threads_call(int ready)
{
    pthread_t thread;

    begin();
    pthread_create(&thread, NULL, calls, (void *)1);
    while (shared->calls[1] == 0)
        usleep(100);
    child_is_ready(ready);
    calls(NULL);
    return 0;
}

static int traps_itself(int ready)
{
    const struct sched_param some = {.sched_priority = 50};
    siginfo_t info = {.si_signo = SIGTRAP, .si_code = TRAP_BRKPT};
    pid_t me = getpid();
    sigset_t trap;

    begin();
    if (shared->is_picky && (sched_setscheduler(0, SCHED_FIFO, &some) < 0 ||
                             sched_setaffinity(0, sizeof(one_processor), &one_processor) < 0))
        return 1;
    sigemptyset(&trap);
    sigaddset(&trap, SIGTRAP);
    child_is_ready(ready);
    while (!shared->is_seized)
        usleep(100);
    sigprocmask(SIG_BLOCK, &trap, NULL);
    (void)syscall(SYS_rt_tgsigqueueinfo, me, me, SIGTRAP, &info);
    sigprocmask(SIG_UNBLOCK, &trap, NULL);
    for (;;) {
        shared->calls[0]++;
        shared->calls[1]++;
        usleep(20);
    }
    return 0;
}

static int forks_all_the_time(int ready)
{
    int status;
    pid_t pid;

    begin();
    child_is_ready(ready);
    for (long n = 0;; n++) {
        pid = fork();
        if (pid == 0)
            _exit(shared->call(n) == n + 1 ? 0 : 1);
        if (waitpid(pid, &status, 0) != pid || status != 0)
            shared->wrong++;
        shared->calls[0]++;
        shared->calls[1]++;
    }
    return 0;
}

/* ---- the tracer ----------------------------------------------------------------------------- */

/* In the threads as they stand; the program will meet them when it is let go. */
static int set_debug_registers(struct fixture *f)
{
    struct hardware h = {0};
    struct tracee *tracee;
    bool all_stand = false;

    if (hardware_add(&h, (uintptr_t)&shared->calls[0], 8, HARDWARE_WRITE, 0) < 0 ||
        ledger_set_debugged(ledger, target, true) < 0 ||
        trace_interrupt(f->trace, f->session, target, 0) < 0)
        return -1;
    for (int i = 0; i < 500 && !all_stand; i++) {
        fixture_serve_for(f, 10);
        all_stand = true;
        TAILQ_FOREACH(tracee, &process_find(f->trace, target)->tracees, siblings)
            all_stand = all_stand && tracee->state == TRACEE_STOPPED;
    }
    TAILQ_FOREACH(tracee, &process_find(f->trace, target)->tracees, siblings) {
        uint32_t known = 0;

        if (hardware_sync(&h, tracee->tid, &known) < 0)
            return -1;
    }
    return 0;
}

static int step_all(struct fixture *f)
{
    const struct continue_options o = {.mode = RESUME_STEP, .range_end = INT64_MAX};

    if (trace_interrupt(f->trace, f->session, target, 0) < 0)
        return -1;
    fixture_serve(f, 20);
    return trace_continue(f->trace, f->session, target, 0, &o) == 1 ? 0 : -1;
}

static int traces(int ready)
{
    struct breakpoint_options o = {.address = (uintptr_t)shared->call, .report_only = true};
    struct fixture f = {.ledger = ledger};
    void *state = NULL;
    siginfo_t report;
    sigset_t block;
    uint32_t id;

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    sigemptyset(&block);
    sigaddset(&block, SIGCHLD);
    sigprocmask(SIG_BLOCK, &block, NULL);
    if (fixture_setup(&state) < 0)
        return 1;
    f = *(struct fixture *)state;
    f.trace->ledger = ledger;
    ledger_set_tracer(ledger, getpid());
    if (fixture_attach(&f, f.session, target, 0) != 1 ||
        (tracer_does == BREAKS &&
         breakpoint_add(f.trace, session_find(f.session, target), &o, &id) < 0))
        return 2;
    if (tracer_does == WATCHES && set_debug_registers(&f) < 0)
        return 4;
    if (tracer_does == STEPS && step_all(&f) < 0)
        return 5;
    child_is_ready(ready);
    for (;;)
        if (trace_next(f.trace, 0, &report) > 0)
            trace_dispatch(f.trace, &report);
    return 3;
}

/* To where the SIGTRAP that it holds back is let through, and then into the stop of an interrupt
 * before that; by hand, since the core would not leave it there. */
static int stops_before_a_trap(int ready)
{
    const uint64_t trap = UINT64_C(1) << (SIGTRAP - 1);
    struct proc_status status;
    uint64_t blocked;
    siginfo_t report;

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    ledger_set_tracer(ledger, getpid());
    if (ledger_set_debugged(ledger, target, true) < 0 || ptrace_ops_seize(target, 0) < 0 ||
        ptrace_ops_interrupt(target) < 0)
        return 1;
    shared->is_seized = true;
    for (;;) {
        if (wait_thread(target, 0, &report) != 1 || proc_read_status(target, &status) < 0 ||
            ptrace_ops_get_sigmask(target, &blocked) < 0)
            return 2;
        if (status.pending & trap && !(blocked & trap))
            break;
        if (ptrace_ops_syscall(target, 0) < 0)
            return 3;
    }
    if (ptrace_ops_interrupt(target) < 0 || ptrace_ops_cont(target, 0) < 0 ||
        wait_thread(target, 0, &report) != 1 ||
        report.si_status != (SIGTRAP | PTRACE_EVENT_STOP << 8))
        return 4;
    child_is_ready(ready);
    for (;;)
        pause();
    return 0;
}

/* ---- the guardian --------------------------------------------------------------------------- */

static void wait_for_tracer(enum stop_kind kind)
{
    struct stop stop;
    siginfo_t wait;

    for (;;) {
        assert_int_equal(wait_thread(tracer, 0, &wait), 1);
        stop_decode(&wait, &stop);
        if (stop.kind == kind)
            return;
        assert_false(stop_is_end(stop.kind));
        (void)ptrace_ops_cont(tracer, stop.kind == STOP_SIGNAL_DELIVERY ? stop.signo : 0);
    }
}

static void kill_and_repair(void)
{
    struct repair *r = NULL;

    assert_return_code(kill(tracer, SIGKILL), errno);
    wait_for_tracer(STOP_EXIT);
    assert_return_code(repair_plan(ledger, &r), 0);
    assert_non_null(r);
    assert_true(repair_needs_hold(r));
    repair_hold(r);
    assert_return_code(ptrace_ops_cont(tracer, 0), 0);
    wait_for_tracer(STOP_KILLED);
    tracer = 0;
    repair_run(r);
    repair_free(r);
}

static bool text_is_clean(void)
{
    function *volatile call = shared->call;
    uint8_t bytes[16] = {0};
    char path[32];
    bool clean;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", target);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    clean = fd >= 0 && pread(fd, bytes, sizeof(bytes), (off_t)(uintptr_t)call) > 0 &&
            memcmp(bytes, (void *)(uintptr_t)call, sizeof(bytes)) == 0;
    if (fd >= 0)
        close(fd);
    return clean;
}

/* Both threads go on calling. */
static bool goes_on(void)
{
    uint64_t before[THREADS] = {shared->calls[0], shared->calls[1]};

    for (int msec = 0; msec < 1000 && proc_state(target) != '-' && proc_state(target) != 'Z';
         msec++) {
        if (shared->calls[0] > before[0] + 10 && shared->calls[1] > before[1] + 10)
            return true;
        usleep(1000);
    }
    return false;
}

static void start(int (*program)(int ready), function *call, useconds_t pause)
{
    int fd;

    memset((void *)shared, 0, sizeof(*shared));
    shared->call = call;
    shared->pause = pause;
    shared->is_picky = is_picky;
    assert_return_code(ledger_create(&fd), 0);
    assert_return_code(ledger_map(fd, &ledger), 0);
    close(fd);
    target = fixture_start(program);
    /* An orphaned process group takes no SIGTSTP, and whoever runs the test may have made it one.
     */
    assert_return_code(setpgid(target, target), errno);
    tracer = fixture_start(tracer_does == STANDS ? stops_before_a_trap : traces);
    assert_return_code(ptrace_ops_seize(tracer, PTRACE_O_TRACEEXIT), 0);
}

static void end(void)
{
    if (target > 0) {
        kill(target, SIGKILL);
        waitpid(target, NULL, 0);
    }
    target = 0;
    ledger_unmap(ledger);
    ledger = NULL;
}

static bool uses(pid_t pid, const cpu_set_t *expected)
{
    cpu_set_t now;

    return sched_getaffinity(pid, sizeof(now), &now) >= 0 && CPU_EQUAL(expected, &now);
}

static void assert_whole(void)
{
    assert_int_equal(shared->wrong, 0);
    assert_int_equal(shared->continued, 0);
    assert_int_equal(proc_tracer(target), 0);
    assert_true(text_is_clean());
    assert_true(uses(target, shared->is_picky ? &one_processor : &processors));
}

/* Returns whether the program has lived through it; then it must be whole. */
static bool one_round(int (*program)(int ready), function *call, useconds_t pause,
                      unsigned after_usec)
{
    bool lives;

    start(program, call, pause);
    usleep(after_usec);
    kill_and_repair();
    lives = goes_on();
    if (lives)
        assert_whole();
    else if (waitpid(target, NULL, WNOHANG) != 0)
        target = 0; /* dead, and perhaps buried by the repair: its tracer is its parent here */
    else
        fail_msg("it neither runs nor is dead: state %c, calls %lu %lu", proc_state(target),
                 shared->calls[0], shared->calls[1]);
    end();
    return lives;
}

static unsigned get_rounds(void)
{
    const char *s = getenv("PTRACED_TEST_ROUNDS");

    return s ? (unsigned)strtoul(s, NULL, 10) : 10;
}

static bool can_collect_last(void)
{
    struct ledger *l;
    int ring = -1, fd, r;

    assert_return_code(ledger_create(&fd), 0);
    assert_return_code(ledger_map(fd, &l), 0);
    close(fd);
    r = lastwait_arm(l, &ring);
    if (ring >= 0)
        close(ring);
    ledger_unmap(l);
    return r >= 0;
}

static void survives(const char *what, int (*program)(int ready), function *call, useconds_t pause)
{
    unsigned n = get_rounds(), survivors = 0;

    for (unsigned i = 0; i < n; i++)
        survivors += one_round(program, call, pause, 2000 + (i * 7919) % 15000);
    print_message("%s: %u of %u survive\n", what, survivors, n);
    if (can_collect_last())
        assert_int_equal(survivors, n);
}

static void emulated_instruction_at_a_thousand_hits_a_second(void **state)
{
    survives("emulated, 1,000 a second", two_threads_call, f_push, 1000);
}

static void emulated_instruction_in_a_tight_loop(void **state)
{
    survives("emulated, tight loop", two_threads_call, f_push, 0);
}

static void displaced_instruction_at_a_thousand_hits_a_second(void **state)
{
    survives("displaced, 1,000 a second", two_threads_call, f_multiply, 1000);
}

static void displaced_instruction_in_a_tight_loop(void **state)
{
    survives("displaced, tight loop", two_threads_call, f_multiply, 0);
}

static void short_instruction_in_a_tight_loop(void **state)
{
    survives("two bytes, tight loop", two_threads_call, f_convert, 0);
}

/* Their memory is a copy, breakpoint and all, whoever has come to their creator's event. */
static void children_are_given_their_text_back(void **state)
{
    survives("forking all the time", forks_all_the_time, f_push, 0);
}

static void job_control_stop_stays_one(void **state)
{
    for (int i = 0; i < 30; i++) {
        start(two_threads_call, f_push, 0);
        usleep(3000);
        assert_return_code(kill(target, i % 2 ? SIGSTOP : SIGTSTP), errno);
        usleep(i % 3 * 2000); /* it may be on its way */
        kill_and_repair();
        assert_true(becomes(target, 'T'));
        usleep(10000);
        assert_int_equal(proc_state(target), 'T');
        assert_whole();
        assert_return_code(kill(target, SIGCONT), errno);
        assert_true(goes_on());
        assert_int_equal(shared->continued, 1);
        end();
    }
}

static void debug_registers_are_cleared(void **state)
{
    tracer_does = WATCHES;
    for (int i = 0; i < 5; i++) {
        start(two_threads_call, f_push, 0);
        usleep(1000);
        kill_and_repair();
        assert_true(goes_on());
        assert_whole();
        end();
    }
}

static void stepped_without_end(void **state)
{
    tracer_does = STEPS;
    survives("stepped", two_threads_call, f_push, 0);
}

static bool may_be_first(void)
{
    const struct sched_param highest = {.sched_priority = sched_get_priority_max(SCHED_FIFO)};
    const struct sched_param none = {0};

    return sched_setscheduler(0, SCHED_FIFO, &highest) >= 0 &&
           sched_setscheduler(0, SCHED_OTHER, &none) >= 0;
}

static void trap_behind_an_interrupt_kills_nobody(void **state)
{
    unsigned n = get_rounds(), survivors = 0;

    if (!may_be_first()) {
        print_message("skipped: it takes CAP_SYS_NICE\n");
        skip();
    }
    tracer_does = STANDS;
    for (unsigned i = 0; i < n; i++) {
        is_picky = i % 2;
        survivors += one_round(traps_itself, f_push, 0, 0);
        assert_int_equal(sched_getscheduler(0) & ~SCHED_RESET_ON_FORK, SCHED_OTHER);
        assert_true(uses(0, &processors));
    }
    print_message("behind an interrupt: %u of %u survive\n", survivors, n);
    assert_int_equal(survivors, n);
}

static int teardown(void **state)
{
    if (target > 0)
        kill(target, SIGKILL);
    if (tracer > 0)
        kill(tracer, SIGKILL);
    while (waitpid(-1, NULL, __WALL) > 0)
        if (tracer > 0)
            (void)ptrace_ops_cont(tracer, 0);
    target = tracer = 0;
    tracer_does = BREAKS;
    is_picky = false;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
        TEST(emulated_instruction_at_a_thousand_hits_a_second),
        TEST(emulated_instruction_in_a_tight_loop),
        TEST(displaced_instruction_at_a_thousand_hits_a_second),
        TEST(displaced_instruction_in_a_tight_loop),
        TEST(short_instruction_in_a_tight_loop),
        TEST(children_are_given_their_text_back),
        TEST(job_control_stop_stays_one),
        TEST(debug_registers_are_cleared),
        TEST(stepped_without_end),
        TEST(trap_behind_an_interrupt_kills_nobody),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    assert_non_null(shared);
    assert_return_code(sched_getaffinity(0, sizeof(processors), &processors), errno);
    CPU_ZERO(&one_processor);
    for (int i = CPU_SETSIZE - 1; CPU_COUNT(&one_processor) == 0; i--)
        if (CPU_ISSET(i, &processors))
            CPU_SET(i, &one_processor);
    alarm(290);
    return cmocka_run_group_tests_name("repair-text", tests, NULL, NULL);
}
#endif
