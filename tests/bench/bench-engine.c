/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ours in the benches of the engine: the core of the tracer, without a bus. One session is attached
 * and is streamed every event, which is recorded as it comes out of the session's queue; the loop
 * is that of daemon/tracer/loop.c.
 *
 * --how=TASK says what to do; `tasks`, near the end, has them all. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/snapshot.h"
#include "daemon/trace/trace.h"
#include "tests/bench/clock.h"
#include "tests/bench/interrupt.h"
#include "tests/bench/job.h"
#include "tests/bench/snapshot.h"

#define QUEUE_LIMIT 1024u
#define STOPS_PER_FLUSH 128u /* as in daemon/tracer/loop.c */
#define RECORDS 4096u        /* a ring: what is recorded is written, and forgotten in the end */

struct bench {
    struct job *job;
    struct ledger *ledger;
    struct trace *trace;
    struct session *session;
    struct filter filter;
    uint32_t counted; /* EVENT_BIT()s of the kinds that are counted */
    bool pending;     /* the queue has something */
    bool detached;
    uint64_t n_events;
    uint64_t n_stopped; /* of those, with the thread held */
    struct event records[RECORDS];
};

static void on_queued(struct session *s, void *userdata)
{
    struct bench *b = userdata;

    b->pending = true;
}

static void on_added(struct session *s, pid_t pid, pid_t parent, void *userdata)
{
}

static void on_removed(struct session *s, pid_t pid, enum removal why, void *userdata)
{
    struct bench *b = userdata;

    b->detached = true;
}

static void bench_done(struct bench *b)
{
    trace_free(b->trace);
    ledger_unmap(b->ledger);
}

static int bench_new(struct bench *b)
{
    static const struct trace_hooks hooks = {on_queued, on_added, on_removed};
    _cleanup_close_ int fd = -1;
    int r;

    r = ledger_create(&fd);
    if (r < 0)
        return r;
    r = ledger_map(fd, &b->ledger);
    if (r < 0)
        return r;
    r = trace_new(&hooks, b, b->ledger, &b->trace);
    if (r < 0)
        return r;
    b->session = session_new(b->trace, QUEUE_LIMIT, false, NULL);
    if (!b->session)
        return -ENOMEM;
    event_queue_set_streaming(&b->session->queue, true);
    return 0;
}

static void flush(struct bench *b)
{
    struct event_queue *q = &b->session->queue;
    struct event *e;

    while ((e = event_queue_next_unsent(q))) {
        b->records[b->n_events++ % RECORDS] = *e;
        b->n_stopped += e->stopped;
        if (EVENT_BIT(e->kind) & b->counted)
            b->job->n_stops++;
        event_queue_mark_sent(q, e);
    }
    b->pending = false;
}

/* One turn of the loop; *stops counts those since the last flush. */
static int turn(struct bench *b, unsigned *stops)
{
    siginfo_t report;
    int r;

    r = trace_next(b->trace, b->pending ? WNOHANG : 0, &report);
    if (r < 0 && r != -EINTR)
        return r;
    if (r > 0) {
        trace_dispatch(b->trace, &report);
        ++*stops;
    }
    if (b->pending && (r == 0 || *stops >= STOPS_PER_FLUSH)) {
        flush(b);
        *stops = 0;
    }
    return 0;
}

/* Works until the time is up. */
static int work_for_a_while(struct bench *b, uint32_t counted)
{
    unsigned stops = 0;
    int r;

    b->counted = counted;
    job_begin(b->job);
    while (!job_is_over(b->job)) {
        r = turn(b, &stops);
        if (r < 0)
            return r;
    }
    flush(b);
    return 0;
}

static int count_for_a_while(struct bench *b, uint32_t counted)
{
    int r = work_for_a_while(b, counted);

    if (r >= 0)
        job_print_stops(b->job);
    return r;
}

static int attach(struct bench *b, uint32_t toggled)
{
    const struct attach_options options = {.filter = &b->filter, .follow_threads = true};
    struct pidref pidref = PIDREF_NULL;
    int r;

    b->filter = FILTER_DEFAULT;
    b->filter.report ^= toggled;
    r = pidref_open(b->job->pid, &pidref);
    if (r < 0)
        return r;
    r = trace_attach(b->trace, b->session, &pidref, 0, &options, NULL);
    pidref_done(&pidref);
    return r < 0 ? r : 0;
}

static int detach(struct bench *b)
{
    unsigned stops = 0;
    int r = 0;

    trace_detach_session(b->trace, b->session);
    flush(b);
    while (r >= 0 && !(b->detached && trace_is_idle(b->trace)))
        r = turn(b, &stops);
    return r;
}

static int count_syscalls(struct bench *b)
{
    return count_for_a_while(b, EVENT_CALLS);
}

static struct attachment *attachment_of(struct bench *b)
{
    return session_find(b->session, b->job->pid);
}

/* What never holds counts no hit and tells no event: how often threads arrived is what counts. */
static int count_breakpoints(struct bench *b)
{
    const struct breakpoint_options o = {
        .kind = BREAKPOINT_SOFTWARE,
        .address = b->job->address,
        .condition = {.set = true,
                      .operator= CONDITION_EQUAL,
                      .name = "rdi",
                      .constant = UINT64_MAX},
    };
    struct attachment *a = attachment_of(b);
    uint32_t id;
    int r = breakpoint_add(b->trace, a, &o, &id);

    if (r >= 0)
        r = work_for_a_while(b, 0);
    if (r < 0)
        return r;
    b->job->n_stops = TAILQ_FIRST(&a->breakpoints)->reached;
    job_print_stops(b->job);
    return breakpoint_remove(b->trace, a, id);
}

static int count_signals(struct bench *b)
{
    return count_for_a_while(b, EVENT_BIT(EVENT_SIGNAL));
}

static int count_threads(struct bench *b)
{
    return count_for_a_while(b, EVENT_BIT(EVENT_CLONE));
}

static int read_blocks(struct job *j, int fd, char *block, size_t block_size)
{
    for (size_t done = 0; done < j->size;) {
        size_t left = j->size - done;
        ssize_t n =
            pread(fd, block, left < block_size ? left : block_size, (off_t)(j->address + done));

        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

/* Through what OpenMemory gives away. */
static int read_memory(struct bench *b)
{
    const size_t block_size = (size_t)1024 * 1024; /* as the raw loop's */
    _cleanup_free_ char *block = malloc(block_size);
    _cleanup_close_ int fd = -1;
    uint64_t begin;
    int r;

    if (!block)
        return -ENOMEM;
    memset(block, 1, block_size);
    job_begin(b->job);
    begin = used_usec();
    r = memory_open(attachment_of(b)->process, false, &fd);
    if (r >= 0)
        r = read_blocks(b->job, fd, block, block_size);
    if (r >= 0)
        job_print_bytes(b->job, used_usec() - begin);
    return r;
}

static int read_into_memfd(struct bench *b)
{
    const struct memory_range range = {b->job->address, b->job->size};
    _cleanup_close_ int fd = -1;
    uint64_t begin, done;
    int r;

    job_begin(b->job);
    begin = used_usec();
    r = memory_to_memfd(attachment_of(b)->process, &range, 1, &fd, &done);
    if (r < 0)
        return r;
    if (done < range.size)
        return -EIO;
    job_print_bytes(b->job, used_usec() - begin);
    return 0;
}

/* The same as the raw loop takes: the general registers, the signal, the stack. */
static int take_snapshot(struct bench *b)
{
    const struct snapshot_options o = {
        .sets = {"general"}, .n_sets = 1, .stack = SNAPSHOT_STACK, .size_max = UINT32_MAX};
    struct snapshot s = SNAPSHOT_NULL;
    size_t bytes = 0;
    int r;

    job_begin(b->job);
    r = snapshot_take(b->trace, b->session, b->job->pid, &o, &s);
    if (r < 0)
        return r;
    for (size_t i = 0; i < s.n_threads; i++)
        bytes += s.threads[i].stack_size;
    printf("{\"threads\":%zu,\"stacks\":%zu,\"total\":%llu}\n", s.n_threads, bytes,
           (unsigned long long)(s.ended_usec - s.began_usec));
    snapshot_done(&s);
    return 0;
}

/* From the request to the event that tells of the stop. */
static int interrupt(struct bench *b, uint64_t *ret_nsec)
{
    const uint64_t begin = clock_nsec(CLOCK_MONOTONIC), n = b->n_stopped;
    const pid_t pid = b->job->pid;
    unsigned stops = 0;
    int r;

    r = trace_interrupt(b->trace, b->session, pid, pid);
    while (r >= 0 && b->n_stopped == n)
        r = turn(b, &stops);
    if (r < 0)
        return r;
    *ret_nsec = clock_nsec(CLOCK_MONOTONIC) - begin;
    r = trace_continue(b->trace, b->session, pid, pid, &CONTINUE_OPTIONS_DEFAULT);
    flush(b);
    return r;
}

static int interrupt_repeatedly(struct bench *b)
{
    uint64_t nsec[INTERRUPTS_MAX];
    size_t n = 0;
    int r;

    job_begin(b->job);
    while (n < INTERRUPTS_MAX && !job_is_over(b->job)) {
        interrupt_pause();
        r = interrupt(b, &nsec[n]);
        if (r < 0)
            return r;
        n++;
    }
    job_print_median(nsec, n);
    return 0;
}

static const struct task {
    const char *how;
    const char *what; /* for people */
    int (*run)(struct bench *b);
    uint32_t toggled; /* EVENT_BIT()s: reported though not by default, or the other way */
} tasks[] = {
    {"syscalls", "stop system calls", count_syscalls, EVENT_CALLS},
    {"breakpoints", "insert breakpoints", count_breakpoints},
    {"signals", "count the signals of", count_signals},
    {"threads", "count the threads of", count_threads, EVENT_BIT(EVENT_EXIT)},
    {"threads-exit", "count the threads of", count_threads},
    {"read", "read memory", read_memory},
    {"read-memfd", "read memory into a memfd", read_into_memfd},
    {"snapshot", "take a snapshot", take_snapshot},
    {"interrupt", "interrupt", interrupt_repeatedly},
};

static const struct task *find_task(const struct job *j)
{
    for (size_t i = 0; i < ARRAY_LENGTH(tasks); i++)
        if (job_is(j, tasks[i].how))
            return &tasks[i];
    return NULL;
}

static int run(struct job *j)
{
    static struct bench b; /* its records are too much for a stack */
    const struct task *task = find_task(j);
    int r;

    if (!task)
        return -EINVAL;
    b.job = j;
    r = bench_new(&b);
    if (r >= 0)
        r = attach(&b, task->toggled);
    if (r >= 0) {
        j->step = task->what;
        r = task->run(&b);
    }
    if (r >= 0) {
        j->step = "detach from";
        r = detach(&b);
    }
    bench_done(&b);
    return r;
}

int main(int argc, char *argv[])
{
    return job_main(argc, argv, run);
}
