/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The program that the benches trace: a number of threads, blocked in different ways or spinning.
 * The main thread is the meter, and one thread obeys one-line commands on standard input; both are
 * among the threads that are asked for, and traced like the rest.
 *
 *     bench-target [--deep] THREADS [SPINNING]
 *
 *     ready            printed when all threads have been started
 *     reset   -> ok    the meter begins anew
 *     report  -> {"gap":USEC}
 *
 * With --deep each blocked thread has as much of its stack in use as a snapshot takes.
 * It ends with its standard input, and with whoever started it. */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "tests/bench/clock.h"
#include "tests/bench/meter.h"
#include "tests/bench/snapshot.h"
#include "tests/bench/threads.h"

#define THREADS_MAX 100000u

struct target {
    unsigned threads;
    unsigned spinning;
    bool deep;
    _Atomic unsigned started;
    pthread_mutex_t gate;  /* held by the main thread until all threads exist */
    pthread_mutex_t never; /* held by the main thread for good */
    int silent[2];         /* a pipe into which nobody writes */
    struct meter *meter;
};

static void *block_in_pause(void *arg)
{
    struct target *t = arg;

    atomic_fetch_add(&t->started, 1);
    for (;;)
        pause();
    return NULL;
}

/* Blocks below a frame that fills the stack. */
static void *block_deep(void *arg)
{
    volatile char frame[SNAPSHOT_STACK];

    for (size_t i = 0; i < sizeof(frame); i++)
        frame[i] = (char)i;
    block_in_pause(arg);
    return (void *)(uintptr_t)frame[0]; /* lest the call above takes the frame's place */
}

static void *block_in_futex(void *arg)
{
    struct target *t = arg;

    atomic_fetch_add(&t->started, 1);
    pthread_mutex_lock(&t->never);
    return NULL;
}

static void *block_in_read(void *arg)
{
    struct target *t = arg;
    char c;

    atomic_fetch_add(&t->started, 1);
    while (read(t->silent[0], &c, 1) < 0 && errno == EINTR)
        ;
    return NULL;
}

/* Waits at the gate first: it would take the processors from the threads still to be started. */
static void *spin(void *arg)
{
    struct target *t = arg;

    atomic_fetch_add(&t->started, 1);
    pthread_mutex_lock(&t->gate);
    pthread_mutex_unlock(&t->gate);
    for (;;)
        atomic_signal_fence(memory_order_seq_cst);
    return NULL;
}

static int start_threads(struct target *t)
{
    static void *(*const blocked[])(void *) = {block_in_pause, block_in_futex, block_in_read};
    const struct timespec pause = {.tv_nsec = 1000 * NSEC_PER_USEC};
    const size_t stack_size = THREAD_STACK_SIZE + (t->deep ? SNAPSHOT_STACK : 0);
    unsigned workers = t->threads - 2;
    int r;

    pthread_mutex_lock(&t->gate);
    pthread_mutex_lock(&t->never);
    for (unsigned i = 0; i < workers; i++) {
        void *(*block)(void *) = t->deep ? block_deep : blocked[i % ARRAY_LENGTH(blocked)];

        r = thread_start(i < t->spinning ? spin : block, t, stack_size);
        if (r < 0)
            return r;
    }
    while (atomic_load(&t->started) < workers)
        nanosleep(&pause, NULL);
    return 0;
}

static int reset(struct target *t)
{
    int r = meter_reset(t->meter);

    if (r >= 0)
        puts("ok");
    return r;
}

static int report(struct target *t)
{
    uint64_t gap;
    int r;

    r = meter_report(t->meter, &gap);
    if (r < 0)
        return r;
    printf("{\"gap\":%llu}\n", (unsigned long long)gap / NSEC_PER_USEC);
    return 0;
}

static int serve(struct target *t)
{
    char line[32];
    int r;

    puts("ready");
    while (fgets(line, sizeof(line), stdin)) {
        if (strcmp(line, "reset\n") == 0)
            r = reset(t);
        else if (strcmp(line, "report\n") == 0)
            r = report(t);
        else
            r = -EINVAL;
        if (r < 0)
            return r;
    }
    return 0;
}

static void *obey(void *arg)
{
    int r = serve(arg);

    if (r < 0)
        fprintf(stderr, "bench-target: %s\n", strerror(-r));
    exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static int parse_number(const char *text, unsigned low, unsigned high, unsigned *ret)
{
    unsigned long v;
    char *end;

    errno = 0;
    v = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < low || v > high)
        return -EINVAL;
    *ret = (unsigned)v;
    return 0;
}

/* Returns only when it failed. */
static int run(struct target *t)
{
    int r;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Where Yama allows only a parent to trace, the tools are siblings. */
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    setvbuf(stdout, NULL, _IOLBF, 0);

    if (pipe(t->silent) < 0)
        return -errno;
    r = meter_new(&t->meter);
    if (r < 0)
        return r;
    r = start_threads(t);
    if (r < 0)
        return r;
    r = thread_start(obey, t, THREAD_STACK_SIZE);
    if (r < 0)
        return r;
    pthread_mutex_unlock(&t->gate);
    meter_run(t->meter);
}

int main(int argc, char *argv[])
{
    static struct target t = {
        .gate = PTHREAD_MUTEX_INITIALIZER,
        .never = PTHREAD_MUTEX_INITIALIZER,
    };
    int r;

    if (argc > 1 && strcmp(argv[1], "--deep") == 0) {
        t.deep = true;
        argv++;
        argc--;
    }
    if (argc < 2 || argc > 3 || parse_number(argv[1], 2, THREADS_MAX, &t.threads) < 0 ||
        (argc == 3 && parse_number(argv[2], 0, t.threads - 2, &t.spinning) < 0)) {
        fprintf(stderr, "Usage: bench-target [--deep] THREADS [SPINNING]\n");
        return EXIT_FAILURE;
    }
    r = run(&t);
    fprintf(stderr, "bench-target with %u threads: %s\n", t.threads, strerror(-r));
    return EXIT_FAILURE;
}
