/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"
#include "tests/unit/trace-fixture.h"

/* The core against real tracees, each test named after its situation. */

static void *sleep_for_ever(void *unused)
{
    for (;;)
        pause();
    return NULL;
}

static int find_other(pid_t tid, void *pid)
{
    return tid == *(pid_t *)pid ? 0 : tid;
}

static int three_threads(int ready)
{
    pthread_t thread;

    pthread_create(&thread, NULL, sleep_for_ever, NULL);
    pthread_create(&thread, NULL, sleep_for_ever, NULL);
    child_is_ready(ready);
    sleep_for_ever(NULL);
    return 0;
}

static void every_thread_stops_and_runs_on(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(three_threads);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(session_find(f->session, pid)->n_engines, 3);
    fixture_serve(f, 5);
    assert_true(event_queue_is_empty(&f->session->queue)); /* attaching disturbs nothing */

    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    for (int i = 0; i < 3; i++) {
        const struct event *e = fixture_next(f, f->session);

        assert_int_equal(e->kind, EVENT_STOP);
        assert_true(e->stopped);
        assert_int_equal(e->serial, i + 1);
        assert_int_equal(proc_state(e->tid), 't');
    }
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 0); /* stopped already */

    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 0);
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_LOST);
    assert_true(is_let_go(f, pid));
    assert_true(becomes(pid, 'S'));
    assert_true(trace_is_idle(f->trace));
    assert_int_equal(f->n_removed, 1);
    fixture_kill(f, pid);
}

static volatile sig_atomic_t caught;

static void catch (int signo)
{
    caught++;
}

static int exits_with_caught_signals(int ready)
{
    const struct sigaction action = {.sa_handler = catch};
    sigset_t block, before;

    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, &before);
    sigaction(SIGUSR1, &action, NULL);
    child_is_ready(ready);
    while (!caught)
        sigsuspend(&before);
    usleep(20000);
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    return caught;
}

static void signal_that_stops_a_thread_arrives_once(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(exits_with_caught_signals);
    const struct event *e;

    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_SIGNAL)), 1);
    kill(pid, SIGUSR1);
    e = fixture_next(f, f->session);
    assert_int_equal(e->kind, EVENT_SIGNAL);
    assert_int_equal(e->signal.signo, SIGUSR1);
    assert_int_equal(e->signal.sender_pid, getpid());
    assert_true(e->stopped);
    assert_int_equal(ledger_get_signal(f->ledger, 0)->tid, pid);

    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(ledger_get_signal(f->ledger, 0)->tid, 0);
    e = fixture_find(f, f->session, EVENT_EXITED, 2000);
    assert_non_null(e);
    assert_int_equal(e->end.status, 1);
}

static void signal_is_not_lost_by_a_detach_in_its_stop(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(exits_with_caught_signals);
    int status;

    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_SIGNAL)), 1);
    kill(pid, SIGUSR1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_SIGNAL);
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 1);
}

/* The tracer gives up: what it has taken out of the kernel's hands is its guardian's to give back.
 */
static void held_signal_stays_in_the_ledger_when_the_core_is_freed(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(exits_with_caught_signals);
    int status;

    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_SIGNAL)), 1);
    kill(pid, SIGUSR1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_SIGNAL);
    f->trace = trace_free(f->trace);
    assert_int_equal(ledger_get_signal(f->ledger, 0)->tid, pid);
    assert_int_equal(ledger_get_signal(f->ledger, 0)->signo, SIGUSR1);

    assert_return_code(ptrace_ops_detach(pid, SIGUSR1), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 1);
}

static int stops_itself(int ready)
{
    child_is_ready(ready);
    raise(SIGSTOP);
    return 7;
}

static void job_control_stopped_process_stays_stopped(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(stops_itself);
    const struct event *e;
    int status;

    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    e = fixture_next(f, f->session);
    assert_int_equal(e->kind, EVENT_GROUP_STOP);
    assert_false(e->stopped);
    fixture_serve(f, 10);
    assert_int_equal(tidmap_get(&f->trace->tids, pid)->state, TRACEE_LISTENING);

    /* An interrupt turns it into a tracing stop, and continuing back into a group-stop. */
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
    e = fixture_next(f, f->session);
    assert_int_equal(e->kind, EVENT_STOP);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    fixture_serve(f, 10);
    assert_int_equal(tidmap_get(&f->trace->tids, pid)->state, TRACEE_LISTENING);
    assert_true(event_queue_is_empty(&f->session->queue));

    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_true(is_let_go(f, pid));
    assert_true(becomes(pid, 'T'));
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 7);
}

/* The kernel lets the thread run on from its stop then, and so must a guardian. */
static void sigcont_of_another_thread_voids_the_record_of_a_stop(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(three_threads), other = proc_for_each_thread(pid, find_other, &pid);
    const struct event *e;

    assert_true(other > 0);
    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_SIGNAL)), 1);
    assert_return_code((int)syscall(SYS_tgkill, pid, pid, SIGSTOP), errno);
    e = fixture_next(f, f->session);
    assert_int_equal(e->signal.signo, SIGSTOP);
    assert_int_equal(ledger_get_signal(f->ledger, 0)->tid, pid);
    assert_int_equal(fixture_set_filter(f, f->session, pid, &FILTER_DEFAULT), 0);
    assert_return_code((int)syscall(SYS_tgkill, pid, other, SIGCONT), errno);
    e = fixture_find(f, f->session, EVENT_SIGNAL, 2000);
    assert_non_null(e);
    assert_int_equal(e->signal.signo, SIGCONT);
    assert_true(ledger_get_signal(f->ledger, 0)->undone);

    assert_int_equal(fixture_continue(f, f->session, pid, 0), 1);
    fixture_serve(f, 20);
    assert_true(becomes(pid, 'S'));
    fixture_kill(f, pid);
}

static void continued_while_it_listens(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(stops_itself);
    const struct event *e;
    int status;

    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_GROUP_STOP);
    kill(pid, SIGCONT);
    e = fixture_find(f, f->session, EVENT_EXITED, 2000);
    assert_non_null(e);
    assert_int_equal(e->end.status, 7);
}

static pthread_t leader;

static void *exits_when_the_leader_is_a_zombie(void *ready)
{
    pthread_join(leader, NULL);
    usleep(10000);
    child_is_ready(*(int *)ready);
    usleep(500000);
    _exit(42);
}

static int leaves_a_zombie_leader(int ready)
{
    static int fd;
    pthread_t thread;

    fd = ready;
    leader = pthread_self();
    pthread_create(&thread, NULL, exits_when_the_leader_is_a_zombie, &fd);
    pthread_exit(NULL);
}

static void zombie_leader_does_not_hang_anything(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(leaves_a_zombie_leader);
    const struct event *e;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(session_find(f->session, pid)->n_engines, 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STOP);
    assert_int_equal(fixture_continue(f, f->session, pid, 0), 1);
    e = fixture_find(f, f->session, EVENT_EXITED, 2000);
    assert_non_null(e);
    assert_int_equal(e->end.status, 42);
    e = fixture_next(f, f->session); /* the process itself, by its own number */
    assert_int_equal(e->kind, EVENT_EXITED);
    assert_int_equal(e->tid, pid);
    assert_int_equal(e->end.status, 42);
}

static void *execs(void *unused)
{
    usleep(50000);
    execl("/bin/sh", "sh", "-c", "exit 5", NULL);
    _exit(98);
}

static int execs_from_another_thread(int ready)
{
    pthread_t thread;

    pthread_create(&thread, NULL, execs, NULL);
    child_is_ready(ready);
    sleep_for_ever(NULL);
    return 0;
}

static void exec_from_another_thread_takes_over_the_leader(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(execs_from_another_thread);
    const struct event *e;

    assert_int_equal(fixture_attach(f, f->session, pid, EVENT_BIT(EVENT_EXEC)), 1);
    /* A leader that the session holds does not keep the exec from happening. */
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
    e = fixture_find(f, f->session, EVENT_EXEC, 2000);
    assert_non_null(e);
    assert_int_equal(e->tid, pid);
    assert_int_not_equal(e->old_tid, pid);
    assert_true(e->stopped);
    assert_int_equal(session_find(f->session, pid)->n_engines, 1);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    e = fixture_find(f, f->session, EVENT_EXITED, 2000);
    assert_non_null(e);
    assert_int_equal(e->end.status, 5);
}

static int forks_a_child_that_exits_3(int ready)
{
    int status;
    pid_t child;

    child_is_ready(ready);
    usleep(50000);
    child = fork();
    if (child == 0)
        _exit(3);
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

static void child_of_a_fork_runs_free(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(forks_a_child_that_exits_3);
    const struct event *e;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    e = fixture_next(f, f->session);
    while (e->kind == EVENT_SIGNAL)
        e = fixture_next(f, f->session);
    assert_int_equal(e->kind, EVENT_FORK);
    assert_false(e->child.thread);
    e = fixture_find(f, f->session, EVENT_EXITED, 2000);
    assert_non_null(e);
    assert_int_equal(e->end.status, 3);
    assert_true(trace_is_idle(f->trace));
}

static void child_of_a_fork_is_followed(void **state)
{
    const struct attach_options follow = {.follow_threads = true, .follow_children = true};
    struct fixture *f = *state;
    pid_t pid = fixture_start(forks_a_child_that_exits_3), child;
    const struct event *e;

    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &FILTER_DEFAULT, follow), 1);
    e = fixture_find(f, f->session, EVENT_FORK, 2000);
    assert_non_null(e);
    child = e->child.tid;
    e = fixture_find(f, f->session, EVENT_EXITED, 2000);
    assert_non_null(e);
    assert_int_equal(e->pid, child);
    assert_int_equal(e->end.status, 3);
    assert_non_null(fixture_find(f, f->session, EVENT_EXITED, 2000));
    assert_int_equal(f->n_removed, 2);
}

static void *ends_at_once(void *unused)
{
    return NULL;
}

static int starts_ten_threads(int ready)
{
    child_is_ready(ready);
    usleep(50000);
    for (int i = 0; i < 10; i++) {
        pthread_t thread;

        pthread_create(&thread, NULL, ends_at_once, NULL);
        pthread_join(thread, NULL);
    }
    return 0;
}

/* 1 where the tid was there, and now is no more. Ends may overtake one another. */
static int forget(pid_t *tids, int n, pid_t tid)
{
    for (int i = 0; i < n; i++)
        if (tids[i] == tid) {
            tids[i] = 0;
            return 1;
        }
    return 0;
}

static void threads_that_come_and_go_are_told_once_each(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(starts_ten_threads), tids[10];
    int cloned = 0, exited = 0;
    uint64_t serial = 0;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    for (;;) {
        const struct event *e = fixture_next(f, f->session);

        assert_int_equal(e->serial, ++serial);
        if (e->kind == EVENT_CLONE) {
            assert_true(e->child.thread);
            assert_true(cloned < 10);
            tids[cloned++] = e->child.tid;
        } else if (e->kind == EVENT_EXITED && e->tid == pid)
            break;
        else if (e->kind == EVENT_EXITED)
            exited += forget(tids, cloned, e->tid);
    }
    assert_int_equal(cloned, 10);
    assert_int_equal(exited, 10);
}

static void thread_runs_when_no_session_holds_it(void **state)
{
    struct fixture *f = *state;
    struct session *other = session_new(f->trace, 1024, true, NULL);
    pid_t pid = fixture_start(three_threads);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(fixture_attach(f, other, pid, 0), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, pid), 1);
    assert_int_equal(fixture_next(f, f->session)->kind, EVENT_STOP);
    assert_true(event_queue_is_empty(&other->queue));
    assert_int_equal(fixture_continue(f, other, pid, pid), 0);
    assert_int_equal(proc_state(pid), 't');

    /* The other asks for a stop of its own: it stands already, and now for both. */
    assert_int_equal(trace_interrupt(f->trace, other, pid, pid), 1);
    assert_int_equal(fixture_next(f, other)->kind, EVENT_STOP);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_int_equal(proc_state(pid), 't');
    assert_int_equal(trace_detach(f->trace, other, pid, 0), 1);
    fixture_serve(f, 5);
    assert_true(becomes(pid, 'S'));
    assert_int_equal(proc_tracer(pid), getpid());
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_true(is_let_go(f, pid));
    fixture_kill(f, pid);
    session_free(f->trace, other);
}

static void killed_while_it_is_held(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(three_threads);
    const struct event *e;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    kill(pid, SIGKILL);
    for (int i = 0; i < 3; i++) {
        e = fixture_find(f, f->session, EVENT_KILLED, 2000);
        assert_non_null(e);
        assert_int_equal(e->end.signo, SIGKILL);
    }
    assert_int_equal(fixture_continue(f, f->session, pid, 0), -EUNATCH);
    assert_true(trace_is_idle(f->trace));
}

static void queue_does_not_grow_by_interrupt_and_continue(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(three_threads);

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
        fixture_serve(f, 0);
        fixture_continue(f, f->session, pid, 0);
    }
    assert_true(f->session->queue.n_events <= f->session->queue.limit + 3);
    assert_int_not_equal(f->session->queue.lost, 0);
    fixture_kill(f, pid);
}

static void *ends_later(void *unused)
{
    usleep(50000);
    return NULL;
}

static int lives_on_when_a_thread_ends(int ready)
{
    pthread_t thread;

    pthread_create(&thread, NULL, ends_later, NULL);
    child_is_ready(ready);
    sleep_for_ever(NULL);
    return 0;
}

static void end_of_a_thread_is_not_that_of_its_process(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(lives_on_when_a_thread_ends), tid;
    const struct event *e;

    tid = proc_for_each_thread(pid, find_other, &pid);
    assert_true(tid > 0);
    assert_int_equal(fixture_attach_with(f, f->session, pid, tid, &FILTER_DEFAULT, FOLLOW_THREADS),
                     1);
    e = fixture_find(f, f->session, EVENT_EXITED, 2000);
    assert_non_null(e);
    assert_int_equal(e->tid, tid);
    assert_null(fixture_find(f, f->session, EVENT_EXITED, 50));
    fixture_kill(f, pid);
}

/* Somebody else's tracer of one thread; it ends with its pipe. */
static pid_t trace_by_another(pid_t tid, int *ret_fd)
{
    int ready[2], end[2];
    pid_t pid;
    char byte;

    assert_return_code(pipe(ready), errno);
    assert_return_code(pipe(end), errno);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(end[1]);
        if (ptrace_ops_seize(tid, 0) < 0)
            _exit(99);
        child_is_ready(ready[1]);
        _exit(read(end[0], &byte, 1) == 0 ? 0 : 98);
    }
    close(ready[1]);
    close(end[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *ret_fd = end[1];
    return pid;
}

static void failed_attach_leaves_what_was_attached_before(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    const struct attach_options one = {.filter = &filter},
                                all = {.filter = &filter, .follow_threads = true};
    struct fixture *f = *state;
    pid_t pid = fixture_start(three_threads), taken = 0, failed = 0, other;
    struct attachment *a;
    struct pidref pidref;
    int fd;

    /* The last of the directory: the scan has seized the one in the middle before it comes there.
     */
    for (pid_t tid = pid + 1; tid < pid + 100; tid++)
        if (proc_is_thread_of(pid, tid))
            taken = tid;
    assert_true(taken > 0);
    other = trace_by_another(taken, &fd);

    assert_return_code(pidref_open(pid, &pidref), 0);
    assert_int_equal(trace_attach(f->trace, f->session, &pidref, pid, &one, NULL), 1);
    assert_int_equal(trace_attach(f->trace, f->session, &pidref, 0, &all, &failed), -EPERM);
    pidref_done(&pidref);
    assert_int_equal(failed, taken);
    fixture_serve(f, 20); /* what the failed one had seized is let go at its stop */
    a = session_find(f->session, pid);
    assert_non_null(a);
    assert_int_equal(a->n_engines, 1);
    assert_false(a->follow_threads);
    assert_int_equal(f->trace->tids.n, 1);

    close(fd);
    assert_int_equal(waitpid(other, NULL, 0), other);
    fixture_kill(f, pid);
}

static void killed_while_an_interrupt_is_under_way(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 50; i++) {
        pid_t pid = fixture_start(three_threads);

        assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
        for (int thread = 0; thread < i % 4; thread++)
            assert_int_not_equal(trace_interrupt(f->trace, f->session, pid, pid), -EUNATCH);
        kill(pid, SIGKILL);
        for (int ends = 0; ends < 3; ends++)
            assert_non_null(fixture_find(f, f->session, EVENT_KILLED, 2000));
        assert_true(trace_is_idle(f->trace));
    }
}

static int one_thread(int ready)
{
    child_is_ready(ready);
    sleep_for_ever(NULL);
    return 0;
}

static void process_that_is_gone(void **state)
{
    struct filter filter = FILTER_DEFAULT;
    const struct attach_options o = {.filter = &filter, .follow_threads = true};
    struct fixture *f = *state;
    pid_t pid = fixture_start(one_thread);
    struct pidref pidref;

    assert_return_code(pidref_open(pid, &pidref), 0);
    kill(pid, SIGKILL);
    assert_true(becomes(pid, 'Z'));
    assert_int_equal(trace_attach(f->trace, f->session, &pidref, 0, &o, NULL), -ESRCH);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(trace_attach(f->trace, f->session, &pidref, 0, &o, NULL), -ESRCH);
    assert_null(process_find(f->trace, pid));
    pidref_done(&pidref);
}

static int waits_in_vfork(int ready)
{
    pid_t child;

    child_is_ready(ready);
    usleep(30000);
    child = vfork();
    if (child == 0) {
        struct timespec t = {.tv_nsec = 300 * 1000 * 1000};

        syscall(SYS_nanosleep, &t, NULL);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return 0;
}

static void parent_in_vfork_stops_when_the_kernel_lets_it(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(waits_in_vfork);
    uint64_t begin, end;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    assert_non_null(fixture_find(f, f->session, EVENT_VFORK, 2000));
    begin = event_now_usec();
    assert_int_equal(trace_interrupt(f->trace, f->session, pid, 0), 1);
    end = event_now_usec();
    assert_true(end - begin < 150 * 1000); /* did not wait for the child */
    assert_non_null(fixture_find(f, f->session, EVENT_STOP, 2000));
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static volatile int *go;

static void *end_at_once(void *unused)
{
    return NULL;
}

static int starts_a_thread(int ready)
{
    pthread_t thread;

    child_is_ready(ready);
    while (!*go)
        usleep(200);
    pthread_create(&thread, NULL, end_at_once, NULL);
    sleep_for_ever(NULL);
    return 0;
}

/* Its reports, and nobody else's. */
static void serve_thread_to_its_end(struct fixture *f, pid_t pid, pid_t tid)
{
    for (int msec = 0; msec < 5000 && proc_is_thread_of(pid, tid); msec++) {
        siginfo_t report;

        while (wait_thread(tid, WNOHANG | WNOWAIT, &report) > 0)
            trace_dispatch(f->trace, &report);
        usleep(1000);
    }
    assert_false(proc_is_thread_of(pid, tid));
}

static void thread_that_an_attach_found_ends_before_its_creator_tells_of_it(void **state)
{
    const struct filter filter = FILTER_DEFAULT;
    struct fixture *f = *state;
    const struct event *e;
    pid_t pid, tid = 0;

    go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(go, MAP_FAILED);
    pid = fixture_start(starts_a_thread);
    assert_int_equal(fixture_attach_with(f, f->session, pid, pid, &filter, FOLLOW_THREADS), 1);
    *go = 1;
    for (int msec = 0; msec < 5000 && tid == 0; msec++) {
        usleep(1000);
        tid = proc_for_each_thread(pid, find_other, &pid);
    }
    assert_true(tid > 0 && becomes(pid, 't') && becomes(tid, 't'));

    assert_int_equal(fixture_attach_with(f, f->session, pid, 0, &filter, FOLLOW_THREADS), 1);
    serve_thread_to_its_end(f, pid, tid);
    e = fixture_find(f, f->session, EVENT_CLONE, 2000);
    assert_non_null(e);
    assert_int_equal(e->child.tid, tid);
    assert_true(e->child.thread);
    assert_true(TAILQ_EMPTY(&f->trace->strays)); /* nothing waits for it */
    fixture_kill(f, pid);
    assert_true(trace_is_idle(f->trace));
    munmap((void *)go, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(every_thread_stops_and_runs_on),
        TEST(signal_that_stops_a_thread_arrives_once),
        TEST(signal_is_not_lost_by_a_detach_in_its_stop),
        TEST(held_signal_stays_in_the_ledger_when_the_core_is_freed),
        TEST(job_control_stopped_process_stays_stopped),
        TEST(sigcont_of_another_thread_voids_the_record_of_a_stop),
        TEST(continued_while_it_listens),
        TEST(zombie_leader_does_not_hang_anything),
        TEST(exec_from_another_thread_takes_over_the_leader),
        TEST(child_of_a_fork_runs_free),
        TEST(child_of_a_fork_is_followed),
        TEST(threads_that_come_and_go_are_told_once_each),
        TEST(thread_runs_when_no_session_holds_it),
        TEST(killed_while_it_is_held),
        TEST(queue_does_not_grow_by_interrupt_and_continue),
        TEST(failed_attach_leaves_what_was_attached_before),
        TEST(end_of_a_thread_is_not_that_of_its_process),
        TEST(killed_while_an_interrupt_is_under_way),
        TEST(process_that_is_gone),
        TEST(parent_in_vfork_stops_when_the_kernel_lets_it),
        TEST(thread_that_an_attach_found_ends_before_its_creator_tells_of_it),
#undef TEST
    };

    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
