/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Computes what it knows the result of, in text whose every instruction has a known address.
 *
 *     computes [THREADS]
 *
 * It says "ready target=A watched=A points=A n=N library=A vdso=A", each an address: a function;
 * the number that it was called with last; an array of the addresses of N instructions which the
 * THREADS execute over and over; getppid() of the C library; clock_gettime() of the vdso (0: has
 * none).
 *
 * At "report" it says progress=N wrong=N: the results of its threads so far, and how many of them
 * were not what they should be. At "call N" it calls target with 0 to N - 1, and says
 * sum=N of what that returned; at "thread" a new thread calls it with 7, and says tid=TID; at
 * "library" and "vdso" it calls those functions and says done=1. At "fork" and "vfork" a child
 * calls target with 100 and exits with what that returned, 45; child=PID status=N. At "exec" it
 * starts anew. */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define CALLS 200u /* of a result */

typedef int clock_function(clockid_t clock, struct timespec *ret);

struct work {
    uint64_t words[8];
};

uint64_t computes_once(uint64_t x, struct work *work);
extern const uint64_t computes_points[], computes_points_end[];

#ifdef __x86_64__
/* Instructions of many kinds; P notes the address of the one that follows. */
__asm__(".macro P\n"
        "9999:\n"
        ".pushsection .data.rel.ro.local,\"aw\"\n"
        ".quad 9999b\n"
        ".popsection\n"
        ".endm\n"
        ".pushsection .data.rel.ro.local,\"aw\"\n"
        ".balign 8\n"
        ".globl computes_points\n"
        "computes_points:\n"
        ".popsection\n"
        ".text\n"
        ".globl computes_once\n"
        ".type computes_once, @function\n"
        "computes_once:\n"
        "P\n push %rbx\n"
        "P\n push %rbp\n"
        "P\n mov %rsp, %rbp\n"
        "P\n mov %rdi, %rbx\n"
        "P\n lea 3(%rbx,%rbx,4), %rax\n"
        "P\n imul computes_factor(%rip), %rax\n"
        "P\n xor %rbx, %rax\n"
        "P\n mov %rax, (%rsi)\n"
        "P\n bswap %rax\n"
        "P\n rol $13, %rax\n"
        "P\n movq %rax, %xmm0\n"
        "P\n paddq %xmm0, %xmm0\n"
        "P\n movq %xmm0, %rdx\n"
        "P\n add %rdx, %rax\n"
        "P\n xor %edx, %edx\n"
        "P\n mov $1000003, %ecx\n"
        "P\n div %rcx\n"
        "P\n lea (%rax,%rdx), %rax\n"
        "P\n test $1, %al\n"
        "P\n jz 1f\n"
        "P\n inc %rax\n"
        "1:\n"
        "P\n mov $3, %ecx\n"
        "2:\n"
        "P\n add (%rsi), %rax\n"
        "P\n dec %ecx\n"
        "P\n jnz 2b\n"
        "P\n pushf\n"
        "P\n popf\n"
        "P\n mov $8, %ecx\n"
        "P\n mov %rsi, %rdi\n"
        "P\n add $16, %rdi\n"
        "P\n rep stosb\n"
        "P\n lock xadd %rax, 16(%rsi)\n"
        "P\n mov %rax, 8(%rsi)\n"
        "P\n mov $39, %eax\n" /* getpid() */
        "P\n syscall\n"
        "P\n mov 8(%rsi), %rax\n"
        "P\n call 3f\n"
        "P\n pop %rbp\n"
        "P\n pop %rbx\n"
        "P\n ret\n"
        "3:\n"
        "P\n imul $31, %rax, %rax\n"
        "P\n add 16(%rsi), %rax\n"
        "P\n ret\n"
        ".size computes_once, . - computes_once\n"
        ".pushsection .data.rel.ro.local,\"aw\"\n"
        ".globl computes_points_end\n"
        "computes_points_end:\n"
        ".balign 8\n"
        ".popsection\n"
        ".pushsection .rodata\n"
        ".balign 8\n"
        "computes_factor: .quad 0x9e3779b97f4a7c15\n"
        ".popsection\n");
#else
__attribute__((noinline)) uint64_t computes_once(uint64_t x, struct work *work)
{
    work->words[0] = x * UINT64_C(0x9e3779b97f4a7c15) ^ x;
    return (work->words[0] << 13 | work->words[0] >> 51) + work->words[0] % 1000003;
}

__asm__(".pushsection .data.rel.ro.local,\"aw\"\n"
        ".balign 8\n"
        ".globl computes_points, computes_points_end\n"
        "computes_points: .quad computes_once\n"
        "computes_points_end:\n"
        ".popsection\n");
#endif

static volatile uint64_t watched;
static atomic_ulong progress, wrong;
static uint64_t expected;
static char **arguments;

__attribute__((noinline)) static uint64_t target(uint64_t i)
{
    watched = i;
    return 3 * i + 1;
}

/* No compiler knows what it is, nor makes a copy of it for what it is called with. */
static uint64_t (*volatile call_target)(uint64_t i) = target;

static uint64_t compute(void)
{
    struct work work = {0};
    uint64_t x = 1;

    for (unsigned i = 0; i < CALLS; i++)
        x = computes_once(x + i, &work);
    return x;
}

__attribute__((noreturn)) static void *work(void *argument)
{
    for (;;) {
        if (compute() != expected)
            atomic_fetch_add(&wrong, 1);
        atomic_fetch_add(&progress, 1);
    }
}

static clock_function *find_vdso(void)
{
    void *vdso = dlopen("linux-vdso.so.1", RTLD_NOLOAD | RTLD_NOW), *found = NULL;

    if (vdso)
        found = dlsym(vdso, "__vdso_clock_gettime");
    return (clock_function *)(uintptr_t)found;
}

static void call(unsigned long n)
{
    uint64_t sum = 0;

    for (unsigned long i = 0; i < n; i++)
        sum += call_target(i);
    tracee_say("sum=%lu", (unsigned long)sum);
}

static void *call_in_thread(void *argument)
{
    (void)call_target(7);
    tracee_say("tid=%d", gettid());
    return NULL;
}

static void make_child(bool shares)
{
    pid_t pid = shares ? vfork() : fork();
    int status;

    if (pid < 0)
        tracee_fail("fork");
    if (pid == 0)
        _exit((int)(call_target(100) & 0xff));
    if (waitpid(pid, &status, 0) != pid)
        tracee_fail("waitpid");
    tracee_say("child=%d status=%d", pid,
               WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status));
}

static void obey(const char *line, clock_function *vdso)
{
    struct timespec now;

    if (strncmp(line, "call ", 5) == 0)
        return call(strtoul(line + 5, NULL, 0));
    if (strcmp(line, "fork") == 0 || strcmp(line, "vfork") == 0)
        return make_child(line[0] == 'v');
    if (strcmp(line, "thread") == 0) {
        (void)pthread_join(tracee_thread(call_in_thread, NULL), NULL);
        return;
    }
    if (strcmp(line, "exec") == 0) {
        execv("/proc/self/exe", arguments);
        tracee_fail("execv");
    }
    if (strcmp(line, "report") == 0) {
        tracee_say("progress=%lu wrong=%lu", atomic_load(&progress), atomic_load(&wrong));
        return;
    }
    if (strcmp(line, "library") == 0)
        (void)getppid();
    else if (vdso)
        (void)vdso(CLOCK_MONOTONIC, &now);
    tracee_say("done=1");
}

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 0);
    clock_function *vdso;
    char line[64];

    tracee_start();
    arguments = argv;
    vdso = find_vdso();
    expected = compute();
    for (unsigned long i = 0; i < n; i++)
        tracee_thread(work, NULL);
    tracee_say("ready target=%lu watched=%lu points=%lu n=%td library=%lu vdso=%lu",
               (unsigned long)target, (unsigned long)&watched, (unsigned long)computes_points,
               computes_points_end - computes_points, (unsigned long)getppid, (unsigned long)vdso);
    while (tracee_listen(line))
        obey(line, vdso);
    return 0;
}
