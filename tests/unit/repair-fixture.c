/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/repair.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"
#include "tests/unit/repair-fixture.h"

struct order {
    enum step step;
    pid_t tid;
};

/* For the signal handler, which is handed nothing. */
static struct seen *shared;
static void *page;

/* ---- the tracee ----------------------------------------------------------------------------- */

static void on_signal(int signo, siginfo_t *info, void *context)
{
    shared->infos[signo] = *info;
    shared->tids[signo] = gettid();
    if (info->si_code > 0 && (signo == SIGSEGV || signo == SIGBUS))
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
    if (signo == SLOW_SIGNAL)
        usleep(2000);
    atomic_fetch_add(&shared->counts[signo], 1);
}

static void catch_signals(void)
{
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGSEGV, SIGTRAP, SIGCONT};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* under Yama the tracer is no ancestor */
    sigfillset(&action.sa_mask);               /* one at a time */
    for (size_t i = 0; i < ARRAY_LENGTH(signals); i++)
        sigaction(signals[i], &action, NULL);
    for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
        sigaction(signo, &action, NULL);
}

int counts_signals(int ready)
{
    catch_signals();
    child_is_ready(ready);
    while (pause() < 0)
        ;
    return 0;
}

static void *counts_signals_too(void *ready)
{
    shared->thread = gettid();
    child_is_ready(*(int *)ready);
    while (pause() < 0)
        ;
    return NULL;
}

int counts_signals_in_two_threads(int ready)
{
    pthread_t thread;

    catch_signals();
    if (pthread_create(&thread, NULL, counts_signals_too, &ready) != 0)
        return 1;
    while (pause() < 0)
        ;
    return 0;
}

int waits_in_sigsuspend(int ready)
{
    sigset_t all, before;

    catch_signals();
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    child_is_ready(ready);
    while (sigsuspend(&before) < 0)
        ;
    return 0;
}

int faults_when_told(int ready)
{
    catch_signals();
    child_is_ready(ready);
    while (atomic_load(&shared->counts[SIGUSR2]) == 0)
        usleep(1000);
    *(volatile char *)page = 1;
    while (pause() < 0)
        ;
    return 0;
}

int traps_when_told(int ready)
{
    catch_signals();
    child_is_ready(ready);
    while (atomic_load(&shared->counts[SIGUSR2]) == 0)
        usleep(1000);
    raise(SIGTRAP);
    while (pause() < 0)
        ;
    return 0;
}

/* ---- the tracer ----------------------------------------------------------------------------- */

static int slot;

static int take_step(struct ledger *l, pid_t tracee, const struct order *o)
{
    siginfo_t info;
    int r;

    switch (o->step) {
    case STEP_SEIZE:
        return ptrace_ops_seize(o->tid, 0);
    case STEP_LOOK:
        return wait_thread(o->tid, WNOWAIT, &info);
    case STEP_COLLECT:
        return wait_thread(o->tid, 0, ledger_wait_area(l));
    case STEP_RECORD:
        r = ptrace_ops_get_siginfo(o->tid, &info);
        if (r >= 0)
            r = slot = ledger_record_signal(l, tracee, o->tid, &info);
        return r;
    case STEP_RESUME:
        r = ptrace_ops_get_siginfo(o->tid, &info);
        return r < 0 ? r : ptrace_ops_cont(o->tid, info.si_signo);
    case STEP_CLEAR:
        ledger_clear_signal(l, slot);
        return 0;
    }
    return -EINVAL;
}

static _Noreturn void trace(struct scene *s, int orders, int answers)
{
    sigset_t block;
    struct order o;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    /* Traced itself, it would stop at each of its tracees' SIGCHLD. */
    sigemptyset(&block);
    sigaddset(&block, SIGCHLD);
    sigprocmask(SIG_BLOCK, &block, NULL);
    ledger_set_tracer(s->ledger, getpid());

    while (read(orders, &o, sizeof(o)) == sizeof(o)) {
        char answer = take_step(s->ledger, s->tracee, &o) < 0 ? 'n' : 'y';

        if (write(answers, &answer, 1) != 1)
            break;
    }
    _exit(1);
}

/* ---- the guardian --------------------------------------------------------------------------- */

void scene_tell(struct scene *s, enum step step, pid_t tid)
{
    const struct order o = {step, tid};
    char answer = '?';

    assert_int_equal(write(s->orders, &o, sizeof(o)), sizeof(o));
    assert_int_equal(read(s->answers, &answer, 1), 1);
    assert_int_equal(answer, 'y');
}

void scene_collect_and_record(struct scene *s, pid_t tid)
{
    scene_tell(s, STEP_COLLECT, tid);
    scene_tell(s, STEP_RECORD, tid);
}

static void start_tracer(struct scene *s)
{
    int orders[2], answers[2];

    assert_return_code(pipe(orders), errno);
    assert_return_code(pipe(answers), errno);
    s->tracer = fork();
    assert_true(s->tracer >= 0);
    if (s->tracer == 0) {
        close(orders[1]);
        trace(s, orders[0], answers[1]);
    }
    close(orders[0]);
    close(answers[1]);
    s->orders = orders[1];
    s->answers = answers[0];
    assert_return_code(ptrace_ops_seize(s->tracer, PTRACE_O_TRACEEXIT), 0);
}

void scene_start(struct scene *s, int (*tracee)(int ready))
{
    s->tracee = fixture_start(tracee);
    start_tracer(s);
    scene_tell(s, STEP_SEIZE, s->tracee);
}

void scene_kill_tracer(struct scene *s)
{
    struct stop stop;
    siginfo_t wait;

    assert_return_code(kill(s->tracer, SIGKILL), errno);
    assert_int_equal(wait_thread(s->tracer, 0, &wait), 1);
    stop_decode(&wait, &stop);
    assert_int_equal(stop.kind, STOP_EXIT);
}

void scene_let_tracer_die(struct scene *s)
{
    struct stop stop;
    siginfo_t wait;

    assert_return_code(ptrace_ops_cont(s->tracer, 0), 0);
    assert_int_equal(wait_thread(s->tracer, 0, &wait), 1);
    stop_decode(&wait, &stop);
    assert_int_equal(stop.kind, STOP_KILLED);
    s->tracer = 0;
}

bool scene_guard(struct scene *s)
{
    struct repair *r = NULL;
    bool planned;

    scene_kill_tracer(s);
    assert_return_code(repair_plan(s->ledger, &r), 0);
    if (r)
        repair_hold(r);
    scene_let_tracer_die(s);
    planned = r;
    if (r)
        repair_run(r);
    repair_free(r);
    return planned;
}

int scene_setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    int fd;

    assert_non_null(s);
    shared = s->seen =
        mmap(NULL, sizeof(*s->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    page = s->page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(s->seen != MAP_FAILED && page != MAP_FAILED);
    assert_return_code(ledger_create(&fd), 0);
    assert_return_code(ledger_map(fd, &s->ledger), 0);
    close(fd);
    s->orders = s->answers = -1;
    *state = s;
    return 0;
}

int scene_teardown(void **state)
{
    struct scene *s = *state;

    if (s->tracee > 0)
        kill(s->tracee, SIGKILL);
    if (s->tracer > 0)
        kill(s->tracer, SIGKILL);
    while (waitpid(-1, NULL, __WALL) > 0) /* an exit stop of the tracer, then its end */
        if (s->tracer > 0)
            (void)ptrace_ops_cont(s->tracer, 0);
    if (s->orders >= 0) {
        close(s->orders);
        close(s->answers);
    }
    munmap(s->seen, sizeof(*s->seen));
    munmap(page, 4096);
    ledger_unmap(s->ledger);
    free(s);
    return 0;
}

int scene_count(const struct scene *s, int signo)
{
    return atomic_load(&s->seen->counts[signo]);
}
