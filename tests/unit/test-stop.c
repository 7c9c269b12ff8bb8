/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"
#include "tests/unit/trace-fixture.h"

/* The decoder: first what ptrace(2) and waitid(2) say that a kernel writes, then what this kernel
 * does write. */

#define TRAPPED(event, signo) ((event) << 8 | (signo))

struct example {
    int code; /* si_code */
    int status;
    struct stop expected;
};

static void assert_stop(const struct stop *got, const struct stop *expected)
{
    assert_int_equal(got->kind, expected->kind);
    assert_int_equal(got->signo, expected->signo);
    assert_int_equal(got->status, expected->status);
    assert_int_equal(got->core, expected->core);
}

static void assert_decodes(const struct example *examples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const siginfo_t wait = {.si_code = examples[i].code, .si_status = examples[i].status};
        /* Every field must be written, so none may keep what was there. */
        struct stop got = {.kind = -1, .signo = -1, .status = -1, .core = true};

        stop_decode(&wait, &got);
        assert_stop(&got, &examples[i].expected);
    }
}

#define ASSERT_DECODES(...)                                                                        \
    do {                                                                                           \
        const struct example examples[] = {__VA_ARGS__};                                           \
        assert_decodes(examples, ARRAY_LENGTH(examples));                                          \
    } while (0)

static void ends_carry_status_signal_and_core(void **state)
{
    ASSERT_DECODES({CLD_EXITED, 0, {STOP_EXITED}}, {CLD_EXITED, 255, {STOP_EXITED, .status = 255}},
                   {CLD_EXITED, SIGKILL, {STOP_EXITED, .status = SIGKILL}},
                   {CLD_KILLED, SIGKILL, {STOP_KILLED, SIGKILL}},
                   {CLD_KILLED, SIGRTMAX, {STOP_KILLED, SIGRTMAX}},
                   {CLD_DUMPED, SIGSEGV, {STOP_KILLED, SIGSEGV, .core = true}});
    assert_true(stop_is_end(STOP_EXITED));
    assert_true(stop_is_end(STOP_KILLED));
    for (enum stop_kind kind = STOP_NONE; kind < STOP_EXITED; kind++)
        assert_false(stop_is_end(kind));
}

static void every_signal_is_a_delivery_stop(void **state)
{
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        ASSERT_DECODES({CLD_TRAPPED, signo, {STOP_SIGNAL_DELIVERY, signo}});
}

static void trap_without_an_event_is_a_signal(void **state)
{
    ASSERT_DECODES({CLD_TRAPPED, SIGTRAP, {STOP_SIGNAL_DELIVERY, SIGTRAP}});
}

static void trap_with_bit_7_is_a_system_call(void **state)
{
    ASSERT_DECODES({CLD_TRAPPED, SIGTRAP | 0x80, {STOP_SYSCALL}});
}

static void events_are_told_by_their_number(void **state)
{
    ASSERT_DECODES({CLD_TRAPPED, TRAPPED(PTRACE_EVENT_FORK, SIGTRAP), {STOP_FORK}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_VFORK, SIGTRAP), {STOP_VFORK}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_CLONE, SIGTRAP), {STOP_CLONE}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_EXEC, SIGTRAP), {STOP_EXEC}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_VFORK_DONE, SIGTRAP), {STOP_VFORK_DONE}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_EXIT, SIGTRAP), {STOP_EXIT}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_SECCOMP, SIGTRAP), {STOP_SECCOMP}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_STOP, SIGTRAP), {STOP_TRAP}});
}

static void only_a_stopping_signal_makes_a_group_stop(void **state)
{
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        bool stopping =
            signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
        const struct stop expected = {
            .kind = stopping ? STOP_GROUP : STOP_TRAP,
            .signo = stopping ? signo : 0,
        };

        ASSERT_DECODES({CLD_TRAPPED, TRAPPED(PTRACE_EVENT_STOP, signo), expected});
    }
    ASSERT_DECODES(
        {CLD_STOPPED, TRAPPED(PTRACE_EVENT_STOP, SIGTSTP), {STOP_GROUP, .signo = SIGTSTP}});
}

static void what_no_tracer_is_told_of_is_nothing(void **state)
{
    ASSERT_DECODES({CLD_CONTINUED, SIGCONT, {STOP_NONE}}, {0, 0, {STOP_NONE}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_SECCOMP + 1, SIGTRAP), {STOP_NONE}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_STOP - 1, SIGTRAP), {STOP_NONE}},
                   {CLD_TRAPPED, TRAPPED(PTRACE_EVENT_STOP + 1, SIGSTOP), {STOP_NONE}},
                   {CLD_TRAPPED, TRAPPED(0x1000, SIGTRAP), {STOP_NONE}}, {-1, -1, {STOP_NONE}});
}

static void exit_code_is_a_wait_status(void **state)
{
    static const struct {
        unsigned long code;
        struct stop expected;
    } examples[] = {
        {0, {STOP_EXITED}},
        {42 << 8, {STOP_EXITED, .status = 42}},
        {255 << 8, {STOP_EXITED, .status = 255}},
        {SIGKILL, {STOP_KILLED, SIGKILL}},
        {SIGSEGV | 0x80, {STOP_KILLED, SIGSEGV, .core = true}},
        {64, {STOP_KILLED, 64}},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        struct stop got = {.kind = -1, .signo = -1, .status = -1, .core = true};

        stop_decode_exit_code(examples[i].code, &got);
        assert_stop(&got, &examples[i].expected);
    }
}

/* ---- what the kernel writes ----------------------------------------------------------------- */

struct list {
    size_t n;
    struct stop stops[64];
};

struct observed {
    struct list first;     /* of the child itself */
    struct list others;    /* of its threads and children */
    struct stop announced; /* by the child's exit stop */
};

static void let_run(pid_t tid, const struct stop *s, enum __ptrace_request request)
{
    int signo = s->kind == STOP_SIGNAL_DELIVERY ? s->signo : 0;

    if (s->kind == STOP_GROUP) {
        assert_return_code(ptrace(PTRACE_LISTEN, tid, NULL, NULL), errno);
        assert_return_code(kill(tid, SIGCONT), errno);
    } else
        assert_return_code(ptrace(request, tid, NULL, (void *)(uintptr_t)signo), errno);
}

static void note(struct list *l, const struct stop *s)
{
    assert_true(l->n < ARRAY_LENGTH(l->stops));
    l->stops[l->n++] = *s;
}

/* Traces a child from its being ready to its end. */
static void observe(int (*child)(int ready), unsigned long options, enum __ptrace_request request,
                    struct observed *ret)
{
    pid_t pid = fixture_start(child);
    siginfo_t wait;

    *ret = (struct observed){0};
    assert_return_code(ptrace(PTRACE_SEIZE, pid, NULL, (void *)options), errno);
    while (wait_any(0, &wait) > 0) {
        unsigned long message;
        struct stop s;

        stop_decode(&wait, &s);
        note(wait.si_pid == pid ? &ret->first : &ret->others, &s);
        if (wait.si_pid == pid && s.kind == STOP_EXIT) {
            assert_return_code(ptrace(PTRACE_GETEVENTMSG, pid, NULL, &message), errno);
            stop_decode_exit_code(message, &ret->announced);
        }
        if (!stop_is_end(s.kind))
            let_run(wait.si_pid, &s, request);
    }
}

/* Waits in a child until the test has seized it. */
static void become_traced(int ready)
{
    child_is_ready(ready);
    for (int msec = 0; msec < 10000 && proc_tracer(getpid()) == 0; msec++)
        usleep(1000);
}

static void assert_sequence(const struct list *got, const struct stop *expected, size_t n)
{
    for (size_t i = 0; i < n && i < got->n; i++)
        assert_stop(&got->stops[i], &expected[i]);
    assert_int_equal(got->n, n);
}

#define ASSERT_SEQUENCE(list, ...)                                                                 \
    do {                                                                                           \
        const struct stop expected[] = {__VA_ARGS__};                                              \
        assert_sequence(list, expected, ARRAY_LENGTH(expected));                                   \
    } while (0)

static int raises_signals(int ready)
{
    signal(SIGUSR1, SIG_IGN);
    signal(SIGRTMAX, SIG_IGN);
    signal(SIGTRAP, SIG_IGN);
    become_traced(ready);
    raise(SIGUSR1);
    raise(SIGRTMAX);
    raise(SIGTRAP);
    return 42;
}

static void kernel_reports_signals_and_the_exit(void **state)
{
    struct observed o;

    observe(raises_signals, PTRACE_O_TRACEEXIT, PTRACE_CONT, &o);
    ASSERT_SEQUENCE(&o.first, {STOP_SIGNAL_DELIVERY, SIGUSR1}, {STOP_SIGNAL_DELIVERY, SIGRTMAX},
                    {STOP_SIGNAL_DELIVERY, SIGTRAP}, {STOP_EXIT}, {STOP_EXITED, .status = 42});
    assert_stop(&o.announced, &(struct stop){STOP_EXITED, .status = 42});
}

static int is_ended_by_a_signal(int ready)
{
    become_traced(ready);
    raise(SIGTERM);
    return 0;
}

static void kernel_reports_a_death_by_signal(void **state)
{
    struct observed o;

    observe(is_ended_by_a_signal, PTRACE_O_TRACEEXIT, PTRACE_CONT, &o);
    ASSERT_SEQUENCE(&o.first, {STOP_SIGNAL_DELIVERY, SIGTERM}, {STOP_EXIT}, {STOP_KILLED, SIGTERM});
    assert_stop(&o.announced, &(struct stop){STOP_KILLED, SIGTERM});
}

static int stops_itself(int ready)
{
    become_traced(ready);
    raise(SIGSTOP); /* the only one that an orphaned process group obeys */
    return 0;
}

static void kernel_reports_a_group_stop_and_its_end(void **state)
{
    struct observed o;

    observe(stops_itself, 0, PTRACE_CONT, &o);
    ASSERT_SEQUENCE(&o.first, {STOP_SIGNAL_DELIVERY, SIGSTOP}, {STOP_GROUP, SIGSTOP}, {STOP_TRAP},
                    {STOP_SIGNAL_DELIVERY, SIGCONT}, {STOP_EXITED});
}

static void *ends_at_once(void *unused)
{
    return NULL;
}

static int makes_a_thread(int ready)
{
    pthread_t thread;

    become_traced(ready);
    if (pthread_create(&thread, NULL, ends_at_once, NULL) != 0)
        return 1;
    pthread_join(thread, NULL);
    return 0;
}

static void kernel_reports_a_new_thread(void **state)
{
    struct observed o;

    observe(makes_a_thread, PTRACE_O_TRACECLONE, PTRACE_CONT, &o);
    ASSERT_SEQUENCE(&o.first, {STOP_CLONE}, {STOP_EXITED});
    ASSERT_SEQUENCE(&o.others, {STOP_TRAP}, {STOP_EXITED});
}

static int forks_vforks_and_execs(int ready)
{
    pid_t child;

    become_traced(ready);
    signal(SIGCHLD, SIG_DFL);
    child = fork();
    if (child == 0)
        _exit(3);
    waitpid(child, NULL, 0);
    child = vfork();
    if (child == 0)
        _exit(4);
    waitpid(child, NULL, 0);
    execl("/bin/true", "true", NULL);
    return 99;
}

static void kernel_reports_fork_vfork_and_exec(void **state)
{
    struct observed o;

    observe(forks_vforks_and_execs,
            PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXEC,
            PTRACE_CONT, &o);
    ASSERT_SEQUENCE(&o.first, {STOP_FORK}, {STOP_SIGNAL_DELIVERY, SIGCHLD}, {STOP_VFORK},
                    {STOP_VFORK_DONE}, {STOP_SIGNAL_DELIVERY, SIGCHLD}, {STOP_EXEC}, {STOP_EXITED});
    ASSERT_SEQUENCE(&o.others, {STOP_TRAP}, {STOP_EXITED, .status = 3}, {STOP_TRAP},
                    {STOP_EXITED, .status = 4});
}

static int calls_getppid(int ready)
{
    become_traced(ready);
    raise(SIGWINCH); /* from here on the test resumes it to the next system call */
    syscall(SYS_getppid);
    _exit(0);
}

static void kernel_reports_system_calls(void **state)
{
    struct observed o;

    observe(calls_getppid, PTRACE_O_TRACESYSGOOD, PTRACE_SYSCALL, &o);
    assert_true(o.first.n >= 5);
    assert_stop(&o.first.stops[0], &(struct stop){STOP_SIGNAL_DELIVERY, SIGWINCH});
    for (size_t i = 1; i < o.first.n - 1; i++)
        assert_stop(&o.first.stops[i], &(struct stop){STOP_SYSCALL});
    assert_stop(&o.first.stops[o.first.n - 1], &(struct stop){STOP_EXITED});
}

static int has_a_seccomp_filter(int ready)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = ARRAY_LENGTH(filter), .filter = filter};

    become_traced(ready);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        return 77;
    syscall(SYS_getppid);
    return 0;
}

static void kernel_reports_a_seccomp_filter(void **state)
{
    struct observed o;

    observe(has_a_seccomp_filter, PTRACE_O_TRACESECCOMP, PTRACE_CONT, &o);
    if (o.first.stops[0].status == 77)
        skip(); /* a sandbox that allows no filters */
    ASSERT_SEQUENCE(&o.first, {STOP_SECCOMP}, {STOP_EXITED});
}

static int sleeps(int ready)
{
    child_is_ready(ready);
    while (pause() < 0)
        ;
    return 0;
}

static void kernel_reports_an_interrupt_and_a_kill(void **state)
{
    pid_t pid = fixture_start(sleeps);
    siginfo_t wait;
    struct stop s;

    assert_return_code(ptrace(PTRACE_SEIZE, pid, NULL, NULL), errno);
    assert_return_code(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), errno);
    assert_int_equal(wait_thread(pid, 0, &wait), 1);
    stop_decode(&wait, &s);
    assert_stop(&s, &(struct stop){STOP_TRAP});
    assert_return_code(kill(pid, SIGKILL), errno);
    assert_int_equal(wait_thread(pid, 0, &wait), 1);
    stop_decode(&wait, &s);
    assert_stop(&s, &(struct stop){STOP_KILLED, SIGKILL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_carry_status_signal_and_core),
        cmocka_unit_test(every_signal_is_a_delivery_stop),
        cmocka_unit_test(trap_without_an_event_is_a_signal),
        cmocka_unit_test(trap_with_bit_7_is_a_system_call),
        cmocka_unit_test(events_are_told_by_their_number),
        cmocka_unit_test(only_a_stopping_signal_makes_a_group_stop),
        cmocka_unit_test(what_no_tracer_is_told_of_is_nothing),
        cmocka_unit_test(exit_code_is_a_wait_status),
        cmocka_unit_test(kernel_reports_signals_and_the_exit),
        cmocka_unit_test(kernel_reports_a_death_by_signal),
        cmocka_unit_test(kernel_reports_a_group_stop_and_its_end),
        cmocka_unit_test(kernel_reports_a_new_thread),
        cmocka_unit_test(kernel_reports_fork_vfork_and_exec),
        cmocka_unit_test(kernel_reports_system_calls),
        cmocka_unit_test(kernel_reports_a_seccomp_filter),
        cmocka_unit_test(kernel_reports_an_interrupt_and_a_kill),
    };

    alarm(60); /* the waits above block */
    return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}
