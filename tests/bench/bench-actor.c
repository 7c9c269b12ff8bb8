/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The program that the benches of the engine trace: it does one cheap thing over and over, and
 * counts it where everybody can look.
 *
 *     bench-actor syscalls THREADS    each thread makes a system call that does next to nothing
 *     bench-actor emulated            calls a function that begins with push %rbp
 *     bench-actor stepped             calls one that begins with what nobody emulates
 *     bench-actor signals             sends itself a signal that it ignores
 *     bench-actor threads             starts a thread and waits for its end
 *     bench-actor memory MIB          has so much memory in use, and blocks
 *     bench-actor spin                computes
 *     bench-actor block               blocks
 *
 * prints {"counters":FD,"address":ADDRESS} and never ends by itself. FD is a page with a counter
 * for each thread, COUNTER_STRIDE bytes apart. How fast it counts is how fast a tracer lets it: the
 * same clock for all of them, those included that count nothing. */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "tests/bench/threads.h"

#define COUNTER_STRIDE 64u
#define COUNTERS_SIZE 4096u
#define THREADS_MAX (COUNTERS_SIZE / COUNTER_STRIDE)

struct actor {
    char *counters;
    _Atomic unsigned started;
    unsigned threads;
    size_t size; /* of the memory in use */
};

struct act {
    const char *name;
    int (*prepare)(struct actor *a, uint64_t *ret_address);
    void *(*work)(void *actor); /* in every thread */
};

#if defined(__x86_64__)
void emulated(uint64_t n);
void stepped(uint64_t n);
__asm__(".pushsection .text\n"
        ".p2align 4\n"
        "emulated: push %rbp\n"
        "  mov %rsp, %rbp\n"
        "  pop %rbp\n"
        "  ret\n"
        ".p2align 4\n"
        "stepped: imul $3, %rdi, %rax\n"
        "  ret\n"
        ".popsection\n");
#else
static __attribute__((noinline)) void emulated(uint64_t n)
{
    __asm__ volatile("" ::"r"(n));
}
static __attribute__((noinline)) void stepped(uint64_t n)
{
    __asm__ volatile("" ::"r"(n));
}
#endif

/* The next free counter, for the thread that calls. */
static _Atomic uint64_t *take_counter(struct actor *a)
{
    return (void *)(a->counters + atomic_fetch_add(&a->started, 1) * COUNTER_STRIDE);
}

/* For its one writer. */
static void count(_Atomic uint64_t *n)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static void *make_syscalls(void *arg)
{
    for (_Atomic uint64_t *n = take_counter(arg);; count(n))
        syscall(SYS_getppid);
    return NULL;
}

static void *call_emulated(void *arg)
{
    for (_Atomic uint64_t *n = take_counter(arg);; count(n))
        emulated(*n);
    return NULL;
}

static void *call_stepped(void *arg)
{
    for (_Atomic uint64_t *n = take_counter(arg);; count(n))
        stepped(*n);
    return NULL;
}

static void *raise_signals(void *arg)
{
    const pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid);

    for (_Atomic uint64_t *n = take_counter(arg);; count(n))
        syscall(SYS_tgkill, pid, tid, SIGUSR1);
    return NULL;
}

static void *do_nothing(void *arg)
{
    return NULL;
}

static void *start_threads(void *arg)
{
    _Atomic uint64_t *n = take_counter(arg);
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    for (;; count(n)) {
        if (pthread_create(&thread, &attr, do_nothing, NULL) != 0)
            abort();
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void *spin(void *arg)
{
    for (_Atomic uint64_t *n = take_counter(arg);; count(n))
        ;
    return NULL;
}

static void *block(void *arg)
{
    for (;;)
        pause();
    return NULL;
}

static int name_emulated(struct actor *a, uint64_t *ret_address)
{
    *ret_address = (uintptr_t)emulated;
    return 0;
}

static int name_stepped(struct actor *a, uint64_t *ret_address)
{
    *ret_address = (uintptr_t)stepped;
    return 0;
}

static int ignore_signal(struct actor *a, uint64_t *ret_address)
{
    return signal(SIGUSR1, SIG_IGN) == SIG_ERR ? -errno : 0;
}

/* No two pages are the same, lest any of them be shared. */
static int fill_memory(struct actor *a, uint64_t *ret_address)
{
    uint64_t *p = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return -errno;
    for (size_t i = 0; i < a->size / sizeof(*p); i++)
        p[i] = i;
    *ret_address = (uintptr_t)p;
    return 0;
}

static const struct act acts[] = {
    {"syscalls", NULL, make_syscalls},
    {"emulated", name_emulated, call_emulated},
    {"stepped", name_stepped, call_stepped},
    {"signals", ignore_signal, raise_signals},
    {"threads", NULL, start_threads},
    {"memory", fill_memory, block},
    {"spin", NULL, spin},
    {"block", NULL, block},
};

static int map_counters(struct actor *a)
{
    int fd = memfd_create("counters", 0);

    if (fd < 0 || ftruncate(fd, COUNTERS_SIZE) < 0)
        return -errno;
    a->counters = mmap(NULL, COUNTERS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return a->counters == MAP_FAILED ? -errno : fd;
}

/* Returns only when it failed. */
static int run(struct actor *a, const struct act *act)
{
    uint64_t address = 0;
    int counters, r;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Where Yama allows only a parent to trace, the tools are siblings. */
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    counters = map_counters(a);
    if (counters < 0)
        return counters;
    r = act->prepare ? act->prepare(a, &address) : 0;
    if (r < 0)
        return r;
    for (unsigned i = 1; i < a->threads; i++) {
        r = thread_start(act->work, a, THREAD_STACK_SIZE);
        if (r < 0)
            return r;
    }
    printf("{\"counters\":%d,\"address\":%llu}\n", counters, (unsigned long long)address);
    fflush(stdout);
    act->work(a);
    return -EIO;
}

static const struct act *find_act(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(acts); i++)
        if (strcmp(acts[i].name, name) == 0)
            return &acts[i];
    return NULL;
}

int main(int argc, char *argv[])
{
    static struct actor a = {.threads = 1};
    const struct act *act = argc >= 2 ? find_act(argv[1]) : NULL;
    unsigned long n = argc == 3 ? strtoul(argv[2], NULL, 10) : 1;
    int r;

    if (!act || argc > 3 || n == 0) {
        fprintf(stderr, "Usage: bench-actor ACT [NUMBER]\n");
        return EXIT_FAILURE;
    }
    if (act->work == make_syscalls)
        a.threads = n < THREADS_MAX ? (unsigned)n : THREADS_MAX;
    else
        a.size = n * 1024 * 1024;
    r = run(&a, act);
    fprintf(stderr, "bench-actor %s: %s\n", act->name, strerror(-r));
    return EXIT_FAILURE;
}
