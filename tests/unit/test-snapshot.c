/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/image.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/snapshot.h"
#include "tests/unit/trace-fixture.h"

/* Snapshots of real processes: what is in them, and that nobody notices. */

#define N_THREADS 4
#define PATTERN_SIZE 20000u
#define HEAD 208u

static volatile struct {
    uint64_t counters[N_THREADS];
    pid_t tids[N_THREADS];
    uint64_t patterns[N_THREADS]; /* addresses */
    uint64_t ends[N_THREADS];     /* of their stacks; 0 for the main thread */
    uint64_t spawned;
    int signals;
    int value;
} * shared;

static unsigned char pattern_byte(int thread, size_t i)
{
    return (unsigned char)(i * 7 + i / 256 + (size_t)thread * 31);
}

#define STACK_SIZE ((size_t)256 * 1024)
#define GUARD_SIZE ((size_t)64 * 1024)

/* Counts below a frame that holds the thread's own pattern. The address sanitizer would keep it
 * elsewhere than on the stack. */
__attribute__((no_sanitize("address"))) static void *counts_with_pattern(void *userdata)
{
    volatile unsigned char pattern[PATTERN_SIZE];
    int me = (int)(intptr_t)userdata;

    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = pattern_byte(me, i);
    shared->patterns[me] = (uintptr_t)pattern;
    shared->tids[me] = (pid_t)syscall(SYS_gettid);
    for (;;)
        shared->counters[me]++;
    return NULL;
}

/* A stack with a guard above it, where a stack that is there otherwise may have anything. */
static void start_with_stack(int number)
{
    char *stack = mmap(NULL, STACK_SIZE + GUARD_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_t thread;

    if (stack == MAP_FAILED || mprotect(stack + STACK_SIZE, GUARD_SIZE, PROT_NONE) < 0)
        _exit(1);
    shared->ends[number] = (uintptr_t)stack + STACK_SIZE;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK_SIZE);
    pthread_create(&thread, &attributes, counts_with_pattern, (void *)(intptr_t)number);
    pthread_attr_destroy(&attributes);
}

static int threads_with_patterns(int ready)
{
    for (int i = 1; i < N_THREADS; i++)
        start_with_stack(i);
    for (int i = 1; i < N_THREADS; i++)
        while (!shared->tids[i])
            usleep(500);
    child_is_ready(ready);
    counts_with_pattern((void *)0);
    return 0;
}

static void *ends(void *userdata)
{
    return NULL;
}

static int threads_come_and_go(int ready)
{
    pthread_t threads[8];

    child_is_ready(ready);
    for (;;) {
        for (int i = 0; i < 8; i++)
            if (pthread_create(&threads[i], NULL, ends, NULL) != 0)
                _exit(1);
        for (int i = 0; i < 8; i++)
            pthread_join(threads[i], NULL);
        shared->spawned++;
    }
    return 0;
}

static void on_queued(int signo, siginfo_t *info, void *context)
{
    shared->value = info->si_value.sival_int;
    shared->signals++;
}

static int counts_signals(int ready)
{
    const struct sigaction action = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO};

    sigaction(SIGUSR1, &action, NULL);
    child_is_ready(ready);
    for (;;)
        shared->counters[0]++;
    return 0;
}

static int vforks_when_told(int ready)
{
    child_is_ready(ready);
    while (!shared->value)
        usleep(500);
    if (vfork() == 0) {
        shared->value = 2;
        usleep(300 * 1000);
        _exit(0);
    }
    shared->value = 3;
    for (;;)
        pause();
    return 0;
}

/* ---- What the tests have in common --------------------------------------------------------- */

static pid_t start_attached(struct fixture *f, int (*child)(int), uint32_t stops)
{
    pid_t pid;

    memset((void *)shared, 0, sizeof(*shared));
    pid = fixture_start(child);
    assert_int_equal(fixture_attach(f, f->session, pid, stops), 1);
    return pid;
}

static const struct snapshot_options usual = {
    .sets = {"general"}, .n_sets = 1, .stack = 65536, .head = HEAD, .size_max = 1 << 30};

struct taken {
    struct snapshot s;
    unsigned char *bytes;
};

static void take_with(struct fixture *f, pid_t pid, const struct snapshot_options *o,
                      struct taken *ret)
{
    struct stat st;

    assert_return_code(snapshot_take(f->trace, f->session, pid, o, &ret->s), 0);
    assert_return_code(fstat(ret->s.fd, &st), errno);
    assert_int_equal(st.st_size, ret->s.size);
    ret->bytes = mmap(NULL, ret->s.size, PROT_READ, MAP_SHARED, ret->s.fd, 0);
    assert_true(ret->bytes != MAP_FAILED);
}

static void give_back(struct taken *t)
{
    munmap(t->bytes, t->s.size);
    snapshot_done(&t->s);
}

static bool all_stand(const struct taken *t)
{
    for (size_t i = 0; i < t->s.n_threads; i++)
        if (!t->s.threads[i].stands)
            return false;
    return true;
}

/* A loaded machine may have no processor for a thread within the patience of a freeze, and then it
 * is in the record as running. */
static void take_standing(struct fixture *f, pid_t pid, const struct snapshot_options *o,
                          struct taken *ret)
{
    for (int i = 0; i < 100; i++) {
        take_with(f, pid, o, ret);
        if (all_stand(ret))
            return;
        give_back(ret);
        fixture_serve_for(f, 20); /* it comes to its stop after all, and runs on */
    }
    fail_msg("a hundred snapshots were without some thread");
}

/* As above, but there may be a thread that cannot stand. */
static void take(struct fixture *f, pid_t pid, struct taken *ret)
{
    take_with(f, pid, &usual, ret);
    for (int i = 0; i < 5 && !all_stand(ret); i++) {
        give_back(ret);
        fixture_serve_for(f, 20);
        take_with(f, pid, &usual, ret);
    }
}

static const struct snapshot_thread *find(const struct taken *t, pid_t tid)
{
    for (size_t i = 0; i < t->s.n_threads; i++)
        if (t->s.threads[i].tid == tid)
            return &t->s.threads[i];
    fail_msg("thread %d is not in the snapshot", tid);
    return NULL;
}

static void assert_counting(bool expected)
{
    uint64_t before[N_THREADS];

    memcpy(before, (void *)shared->counters, sizeof(before));
    for (int i = 0; i < N_THREADS; i++) {
        for (int msec = 0; msec < (expected ? 2000 : 5) && shared->counters[i] == before[i]; msec++)
            usleep(1000);
        assert_int_equal(shared->counters[i] != before[i], expected);
    }
}

static void assert_pattern(const struct taken *t, const struct snapshot_thread *thread, int number)
{
    uint64_t address = shared->patterns[number];
    const unsigned char *bytes;

    assert_true(thread->stack_address <= address);
    assert_true(address + PATTERN_SIZE <= thread->stack_address + thread->stack_size);
    assert_true(thread->stack >= HEAD && thread->stack + thread->stack_size <= t->s.size);
    assert_int_equal(thread->stack % SNAPSHOT_ALIGNMENT, 0);
    bytes = t->bytes + thread->stack + (address - thread->stack_address);
    for (size_t i = 0; i < PATTERN_SIZE; i++)
        assert_int_equal(bytes[i], pattern_byte(number, i));
}

/* ---- Tests --------------------------------------------------------------------------------- */

static void every_stack_is_in_it_and_all_run_on_untold(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_with_patterns, 0);
    struct taken t;

    while (shared->tids[0] == 0)
        usleep(500);
    take_standing(f, pid, &usual, &t);
    assert_int_equal(t.s.n_threads, N_THREADS);
    for (int i = 0; i < N_THREADS; i++) {
        const struct snapshot_thread *thread = find(&t, shared->tids[i]);

        assert_true(thread->stands && !thread->held && !thread->at_signal);
        assert_string_equal(thread->state, "running");
        assert_true(thread->kernel_state == 'R');
        assert_string_equal(thread->comm, "test-snapshot");
        assert_int_equal(thread->stack_address, thread->stack_pointer - thread->arch->red_zone);
        assert_int_equal(arch_get_role(thread->arch, ARCH_SP, t.bytes + thread->registers),
                         thread->stack_pointer);
        assert_int_equal(thread->set_sizes[0], thread->arch->general_size);
        assert_pattern(&t, thread, i);
    }
    assert_true(t.s.began_usec <= t.s.stood_usec && t.s.stood_usec <= t.s.ended_usec);
    give_back(&t);
    assert_counting(true);
    fixture_serve(f, 20);
    assert_null(event_queue_find(&f->session->queue, 0, 0));
    fixture_kill(f, pid);
}

static void sets_lie_one_after_another_as_the_kernel_gives_them(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_with_patterns, 0), tid = shared->tids[1];
    struct snapshot_options o = usual;
    const struct snapshot_thread *thread;
    _Alignas(16) unsigned char expected[16384];
    size_t size, offset;
    struct taken t;

    o.sets[0] = "fp";
    o.sets[1] = "general";
    o.n_sets = 2;
    o.stack = 0;
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, tid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STOP);
    take_with(f, pid, &o, &t);
    thread = find(&t, tid);
    assert_true(thread->stands && thread->held);
    assert_string_equal(thread->state, "stopped");
    assert_int_equal(thread->stack_size, 0);
    offset = thread->registers;
    for (size_t i = 0; i < 2; i++) {
        int set = arch_find_set(thread->arch, o.sets[i]);

        size = sizeof(expected);
        assert_return_code(
            ptrace_ops_get_regset(tid, thread->arch->sets[set].note, expected, &size), 0);
        assert_int_equal(thread->set_sizes[i], size);
        assert_memory_equal(t.bytes + offset, expected, size);
        offset += (size + SNAPSHOT_ALIGNMENT - 1) / SNAPSHOT_ALIGNMENT * SNAPSHOT_ALIGNMENT;
    }
    give_back(&t);
    fixture_kill(f, pid);
}

static void a_held_thread_stays_held(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_with_patterns, 0), tid = shared->tids[2];
    struct taken t;
    uint64_t before;

    assert_int_equal(trace_interrupt(f->trace, f->session, pid, tid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STOP);
    before = shared->counters[2];
    take_standing(f, pid, &usual, &t);
    for (int i = 1; i < N_THREADS; i++)
        assert_int_equal(find(&t, shared->tids[i])->held, i == 2);
    assert_pattern(&t, find(&t, tid), 2);
    give_back(&t);
    usleep(5000);
    assert_int_equal(shared->counters[2], before);
    assert_int_equal(fixture_continue(f, f->session, pid, tid), 1);
    assert_counting(true);
    fixture_kill(f, pid);
}

static void a_job_control_stop_stays_one(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_with_patterns, 0);
    struct taken t;

    kill(pid, SIGSTOP);
    for (int i = 0; i < N_THREADS; i++)
        assert_non_null(fixture_find(f, f->session, EVENT_GROUP_STOP, 2000));
    take_standing(f, pid, &usual, &t);
    for (int i = 1; i < N_THREADS; i++) {
        assert_true(find(&t, shared->tids[i])->stands);
        assert_string_equal(find(&t, shared->tids[i])->state, "group-stop");
        assert_pattern(&t, find(&t, shared->tids[i]), i);
    }
    give_back(&t);
    fixture_serve(f, 20);
    assert_null(fixture_find(f, f->session, EVENT_GROUP_STOP, 10));
    assert_counting(false);
    kill(pid, SIGCONT);
    fixture_serve(f, 50);
    assert_counting(true);
    fixture_kill(f, pid);
}

static void a_signal_that_a_thread_stands_at_is_in_it_and_is_delivered(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, counts_signals, EVENT_BIT(EVENT_SIGNAL));
    const struct snapshot_thread *thread;
    struct taken t;

    assert_return_code(sigqueue(pid, SIGUSR1, (union sigval){.sival_int = 4711}), errno);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_SIGNAL);
    take(f, pid, &t);
    thread = find(&t, pid);
    assert_true(thread->at_signal && thread->held);
    assert_int_equal(thread->siginfo.si_signo, SIGUSR1);
    assert_int_equal(thread->siginfo.si_value.sival_int, 4711);
    give_back(&t);
    assert_int_equal(shared->signals, 0);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    for (int msec = 0; msec < 2000 && shared->signals == 0; msec++)
        usleep(1000);
    assert_int_equal(shared->signals, 1);
    assert_int_equal(shared->value, 4711);
    fixture_kill(f, pid);
}

/* Some of them are caught on their way by a snapshot itself. */
static void no_signal_is_lost(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, counts_signals, 0);
    int caught = 0;

    for (int i = 1; i <= 200; i++) {
        struct taken t;

        assert_return_code(sigqueue(pid, SIGUSR1, (union sigval){.sival_int = i}), errno);
        usleep((useconds_t)(i % 2) * 500); /* it stands at the signal, or is about to */
        take(f, pid, &t);
        caught += find(&t, pid)->at_signal;
        give_back(&t);
        for (int msec = 0; msec < 2000 && shared->signals < i; msec++)
            fixture_serve(f, 1);
        assert_int_equal(shared->signals, i);
        assert_int_equal(shared->value, i);
    }
    assert_true(caught > 0);
    fixture_kill(f, pid);
}

static void threads_come_and_go_meanwhile(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_come_and_go, 0);
    size_t most = 0, late = 0;

    for (int i = 0; i < 200; i++) {
        uint64_t spawned = shared->spawned;
        struct taken t;

        take(f, pid, &t);
        late += !find(&t, pid)->stands;
        most = t.s.n_threads > most ? t.s.n_threads : most;
        for (size_t k = 0; k < t.s.n_threads; k++)
            if (t.s.threads[k].arch)
                assert_true(t.s.threads[k].stands && t.s.threads[k].stack_size > 0);
        give_back(&t);
        for (int n = 0; n < 2000 && shared->spawned == spawned; n++)
            (void)fixture_find(f, f->session, EVENT_VFORK, 5);
        assert_true(shared->spawned > spawned);
    }
    assert_true(most > 1);
    fixture_kill(f, pid);
    assert_true(late < 100); /* of 200; on a loaded machine some */
}

static void a_parent_in_vfork_is_in_it_as_running(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, vforks_when_told, 0);
    uint64_t began;
    struct taken t;

    shared->value = 1;
    for (int msec = 0; msec < 2000 && shared->value != 2; msec++)
        fixture_serve(f, 1);
    assert_int_equal(shared->value, 2);
    began = event_now_usec();
    take_with(f, pid, &usual, &t);
    assert_true(event_now_usec() - began < 200 * 1000);
    assert_int_equal(t.s.n_threads, 1);
    assert_false(t.s.threads[0].stands);
    assert_string_equal(t.s.threads[0].comm, "test-snapshot");
    assert_null(t.s.threads[0].arch);
    assert_int_equal(t.s.size, HEAD);
    give_back(&t);
    assert_int_equal(TAILQ_FIRST(&process_find(f->trace, pid)->tracees)->state, TRACEE_RUNNING);
    for (int msec = 0; msec < 2000 && shared->value != 3; msec++)
        fixture_serve(f, 1);
    assert_int_equal(shared->value, 3);
    fixture_kill(f, pid);
}

static void a_stack_that_ends_early_is_shorter(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, counts_signals, 0);
    struct snapshot_options o = usual;
    const struct snapshot_thread *thread;
    struct taken t;

    o.stack = 1 << 20;
    take_standing(f, pid, &o, &t);
    thread = find(&t, pid);
    assert_true(thread->stack_size > 0 && thread->stack_size < o.stack);
    assert_int_equal((thread->stack_address + thread->stack_size) % 4096, 0);
    give_back(&t);
    fixture_kill(f, pid);
}

static void a_stack_ends_before_the_next_one(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_with_patterns, 0);
    struct snapshot_options o = usual;
    struct taken t;
    uint64_t size;
    int maps;

    assert_return_code(image_open(process_find(f->trace, pid), "maps", O_RDONLY, &maps), 0);
    if (image_readable_size(maps, shared->patterns[1], 1, &size) == -ENOTTY) {
        close(maps);
        fixture_kill(f, pid);
        skip();
    }
    close(maps);
    o.stack = 1 << 20;
    take_standing(f, pid, &o, &t);
    for (int i = 1; i < N_THREADS; i++) {
        const struct snapshot_thread *thread = find(&t, shared->tids[i]);

        assert_pattern(&t, thread, i);
        assert_int_equal(thread->stack_address + thread->stack_size, shared->ends[i]);
    }
    give_back(&t);
    fixture_kill(f, pid);
}

static void a_snapshot_too_large_is_refused_before_anything_stops(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, threads_with_patterns, 0);
    struct snapshot s = SNAPSHOT_NULL;
    struct snapshot_options o = usual;

    o.size_max = HEAD + 3 * 65536;
    assert_int_equal(snapshot_take(f->trace, f->session, pid, &o, &s), -EDQUOT);
    assert_int_equal(s.fd, -1);
    assert_counting(true);
    fixture_kill(f, pid);
}

static void a_process_that_dies_is_an_answer(void **state)
{
    struct fixture *f = *state;
    int n_taken = 0, n_gone = 0;

    for (int i = 0; i < 36; i++) {
        pid_t pid = start_attached(f, threads_with_patterns, 0);
        struct snapshot s = SNAPSHOT_NULL;
        int r;

        kill(pid, SIGKILL);
        (void)fixture_find(f, f->session, EVENT_VFORK, i % 18); /* this far it has got */
        r = snapshot_take(f->trace, f->session, pid, &usual, &s);
        if (r >= 0)
            n_taken++;
        else {
            assert_true(r == -ESRCH || r == -EUNATCH);
            n_gone++;
        }
        snapshot_done(&s);
        for (int msec = 0; msec < 2000 && process_find(f->trace, pid); msec++)
            fixture_serve(f, 1);
        assert_null(process_find(f->trace, pid));
        while (fixture_find(f, f->session, EVENT_KILLED, 2))
            ;
    }
    assert_true(n_taken > 0);
    assert_true(n_gone > 0);
}

static void a_process_of_another_session_is_not_attached(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start_attached(f, counts_signals, 0);
    struct session *other = session_new(f->trace, 16, true, NULL);
    struct snapshot s = SNAPSHOT_NULL;

    assert_int_equal(snapshot_take(f->trace, other, pid, &usual, &s), -EUNATCH);
    fixture_kill(f, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(every_stack_is_in_it_and_all_run_on_untold),
        TEST(sets_lie_one_after_another_as_the_kernel_gives_them),
        TEST(a_held_thread_stays_held),
        TEST(a_job_control_stop_stays_one),
        TEST(a_signal_that_a_thread_stands_at_is_in_it_and_is_delivered),
        TEST(no_signal_is_lost),
        TEST(threads_come_and_go_meanwhile),
        TEST(a_parent_in_vfork_is_in_it_as_running),
        TEST(a_stack_that_ends_early_is_shorter),
        TEST(a_stack_ends_before_the_next_one),
        TEST(a_snapshot_too_large_is_refused_before_anything_stops),
        TEST(a_process_that_dies_is_an_answer),
        TEST(a_process_of_another_session_is_not_attached),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
