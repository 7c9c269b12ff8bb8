/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/trace/procfs.h"
#include "tests/unit/trace-fixture.h"

static struct event last_event;
static pid_t last_started;

static void on_event(struct session *s, void *userdata)
{
}

static void on_added(struct session *s, pid_t pid, pid_t parent, void *userdata)
{
}

static void on_removed(struct session *s, pid_t pid, enum removal why, void *userdata)
{
    struct fixture *f = userdata;

    f->n_removed++;
}

int fixture_setup(void **state)
{
    static const struct trace_hooks hooks = {on_event, on_added, on_removed, NULL};
    struct fixture *f = calloc(1, sizeof(*f));
    int fd;

    assert_non_null(f);
    assert_return_code(ledger_create(&fd), 0);
    assert_return_code(ledger_map(fd, &f->ledger), 0);
    close(fd);
    assert_return_code(trace_new(&hooks, f, f->ledger, &f->trace), 0);
    f->session = session_new(f->trace, 1024, true, NULL);
    assert_non_null(f->session);
    *state = f;
    return 0;
}

/* Its number may have become another process's meanwhile, which is no child of the test. */
static void kill_last_started(void)
{
    const int unreaped = WEXITED | WNOHANG | WNOWAIT;
    siginfo_t report;

    if (last_started > 0 && waitid(P_PID, (id_t)last_started, &report, unreaped) == 0)
        kill(last_started, SIGKILL);
    last_started = 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    kill_last_started();
    trace_free(f->trace);
    ledger_unmap(f->ledger);
    free(f);
    return 0;
}

pid_t fixture_start(int (*child)(int ready_fd))
{
    int fds[2];
    char byte;
    pid_t pid;

    assert_return_code(pipe(fds), errno);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        _exit(child(fds[1]));
    }
    last_started = pid;
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    return pid;
}

void *fixture_share(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

void child_is_ready(int ready_fd)
{
    if (write(ready_fd, "r", 1) != 1)
        _exit(99);
}

/* One wait's result, if there is any. Children of the test that are not traced are left alone. */
static bool serve_one(struct fixture *f)
{
    siginfo_t report;

    if (trace_next(f->trace, WNOHANG, &report) <= 0)
        return false;
    trace_dispatch(f->trace, &report);
    return true;
}

static void nap(void)
{
    const struct timespec t = {.tv_nsec = 1000 * 1000};

    nanosleep(&t, NULL);
}

void fixture_serve(struct fixture *f, int msec)
{
    for (int idle = 0; idle < msec; idle++) {
        while (serve_one(f))
            idle = 0;
        nap();
    }
}

void fixture_serve_for(struct fixture *f, int msec)
{
    const uint64_t end = event_now_usec() + (uint64_t)msec * 1000;
    const struct timespec t = {.tv_nsec = 20 * 1000};

    while (event_now_usec() < end)
        if (!serve_one(f))
            nanosleep(&t, NULL);
}

static const struct event *take(struct session *s)
{
    struct event *e = event_queue_find(&s->queue, 0, 0);

    if (!e)
        return NULL;
    last_event = *e;
    event_queue_mark_taken(&s->queue, e);
    return &last_event;
}

const struct event *fixture_next(struct fixture *f, struct session *s)
{
    for (int msec = 0; msec < 5000; msec++) {
        const struct event *e = take(s);

        if (e)
            return e;
        if (!serve_one(f))
            nap();
    }
    fail_msg("no event within five seconds");
    return NULL;
}

const struct event *fixture_find(struct fixture *f, struct session *s, enum event_kind kind,
                                 int msec)
{
    for (int i = 0; i < msec; i++) {
        const struct event *e;

        while ((e = take(s)))
            if (e->kind == kind)
                return e;
        if (!serve_one(f))
            nap();
    }
    return NULL;
}

int fixture_attach_with(struct fixture *f, struct session *s, pid_t pid, pid_t tid,
                        const struct filter *filter, struct attach_options o)
{
    struct pidref pidref;
    int r;

    r = pidref_open(pid, &pidref);
    if (r < 0)
        return r;
    o.filter = filter_new(filter);
    assert_non_null(o.filter);
    r = trace_attach(f->trace, s, &pidref, tid, &o, NULL);
    filter_unref(o.filter);
    pidref_done(&pidref);
    return r;
}

int fixture_attach(struct fixture *f, struct session *s, pid_t pid, uint32_t stops)
{
    struct filter filter = FILTER_DEFAULT;

    filter.stops = stops;
    return fixture_attach_with(f, s, pid, 0, &filter, FOLLOW_THREADS);
}

int fixture_set_filter(struct fixture *f, struct session *s, pid_t pid, const struct filter *filter)
{
    struct filter *copy = filter_new(filter);
    int r;

    assert_non_null(copy);
    r = trace_set_filter(f->trace, s, pid, copy);
    filter_unref(copy);
    return r;
}

int fixture_continue_in(struct fixture *f, struct session *s, pid_t pid, pid_t tid,
                        enum resume_mode mode)
{
    const struct continue_options o = {.mode = mode};

    return trace_continue(f->trace, s, pid, tid, &o);
}

int fixture_continue(struct fixture *f, struct session *s, pid_t pid, pid_t tid)
{
    return fixture_continue_in(f, s, pid, tid, RESUME_RUN);
}

void fixture_kill(struct fixture *f, pid_t pid)
{
    kill(pid, SIGKILL);
    /* Where it is still traced, serving is what buries it; else it is the test's to bury. */
    while (process_find(f->trace, pid))
        fixture_serve(f, 1);
    (void)waitpid(pid, NULL, 0);
}

uint32_t add_breakpoint(struct fixture *f, pid_t pid, struct breakpoint_options o)
{
    uint32_t id = 0;

    assert_int_equal(breakpoint_add(f->trace, session_find(f->session, pid), &o, &id), 0);
    return id;
}

int drop_breakpoint(struct fixture *f, pid_t pid, uint32_t id)
{
    return breakpoint_remove(f->trace, session_find(f->session, pid), id);
}

uint64_t hits_of(struct fixture *f, pid_t pid, uint32_t id)
{
    const struct breakpoint *b;

    TAILQ_FOREACH(b, &session_find(f->session, pid)->breakpoints, breakpoints)
        if (b->id == id)
            return b->hits;
    fail_msg("there is no breakpoint %u", id);
    return 0;
}

char proc_state(pid_t tid)
{
    struct proc_status s;

    return proc_read_status(tid, &s) < 0 ? '-' : s.state;
}

bool becomes(pid_t tid, char state)
{
    for (int msec = 0; msec < 5000; msec++) {
        if (proc_state(tid) == state) /* it may be another one in the next moment */
            return true;
        nap();
    }
    return false;
}

bool is_let_go(struct fixture *f, pid_t tid)
{
    for (int msec = 0; msec < 5000 && proc_tracer(tid) != 0; msec++)
        if (!serve_one(f))
            nap();
    return proc_tracer(tid) == 0;
}

pid_t proc_tracer(pid_t tid)
{
    struct proc_status s;

    return proc_read_status(tid, &s) < 0 ? -1 : s.tracer;
}
