/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/breakpoint-fixture.h"

#define CALLS_MIN 50u /* for a test to have seen something */

/* Functions from one number to another, each with another kind of instruction in front. */
#define FUNCTION(name, ...)                                                                        \
    __asm__(".text\n.globl " #name "\n.type " #name ", @function\n.p2align 4\n" #name              \
            ":\n" __VA_ARGS__ "\n.size " #name ", . - " #name "\n.data\n" #name                    \
            "_word: .quad 7\n.text\n")

FUNCTION(f_push, "push %rbp\nlea 1(%rdi), %rax\npop %rbp\nret");
FUNCTION(f_nop, "nop\nlea 1(%rdi), %rax\nret");
FUNCTION(f_relative, "mov f_relative_word(%rip), %rax\nlea -6(%rdi, %rax), %rax\nret");
FUNCTION(f_multiply, "imul $3, %rdi, %rax\nsub %rdi, %rax\nsub %rdi, %rax\ninc %rax\nret");
FUNCTION(f_call, "call 1f\nret\n1: lea 1(%rdi), %rax\nret");
FUNCTION(f_jump, "jmp 1f\nud2\n1: lea 1(%rdi), %rax\nret");
FUNCTION(f_branch, "jrcxz 1f\n1: lea 1(%rdi), %rax\nret");
FUNCTION(f_vector, "movq %rdi, %xmm0\nmovq %xmm0, %rax\ninc %rax\nret");
FUNCTION(f_string, "movsb\nmovsb\nlea -1(%rdi), %rax\nret"); /* see call_it() */
FUNCTION(f_flags, "nop\npushf\npopf\nlea 1(%rdi), %rax\nret");
FUNCTION(f_syscall, "syscall\nlea 1(%rdi), %rax\nret");

const struct calling_function calling_functions[N_CALLING_FUNCTIONS] = {
    {"push", f_push},         {"nop", f_nop},       {"relative", f_relative},
    {"multiply", f_multiply}, {"call", f_call},     {"jump", f_jump},
    {"branch", f_branch},     {"vector", f_vector}, {"string", f_string},
    {"syscall", f_syscall},
};

static volatile struct calling *shared;

volatile struct calling *calling_share(void)
{
    shared = fixture_share(sizeof(*shared));
    return shared;
}

/* A call that the compiler does not know of leaves the 128 bytes below the stack pointer alone. */
#define OVER_RED_ZONE(name) "sub $128, %%rsp\ncall " name "\nadd $128, %%rsp\n"

static long call_it(function *call, long n)
{
    if (call == f_string) {
        char from[2] = "ab", to[2];
        long result;

        __asm__ volatile(OVER_RED_ZONE("f_string") "sub %1, %0"
                         : "=&a"(result)
                         : "b"(to), "S"(from), "D"(to)
                         : "memory", "cc");
        return to[0] == 'a' && to[1] == 'b' && result == 1 ? n + 1 : -1;
    }
    if (call == f_syscall) {
        long result;

        __asm__ volatile(OVER_RED_ZONE("f_syscall")
                         : "=a"(result)
                         : "a"(SYS_getppid), "D"(n)
                         : "rcx", "r11", "memory", "cc");
        return result;
    }
    return call(n);
}

__attribute__((noreturn)) static void *calls(void *userdata)
{
    int me = (int)(intptr_t)userdata;

    shared->tids[me] = (pid_t)syscall(SYS_gettid);
    for (long n = 0;; n++) {
        while (!shared->go)
            usleep(200);
        shared->busy[me] = 1;
        if (call_it(shared->call, n) != n + 1)
            shared->wrong++;
        shared->calls[me]++;
        shared->busy[me] = 0;
    }
}

static void start_threads(int n)
{
    pthread_t thread;

    for (intptr_t i = 1; i < n; i++)
        pthread_create(&thread, NULL, calls, (void *)i);
    for (int i = 1; i < n; i++)
        while (!shared->tids[i])
            usleep(200);
}

int one_thread_calls(int ready)
{
    child_is_ready(ready);
    calls(NULL);
}

int four_threads_call(int ready)
{
    start_threads(THREADS);
    child_is_ready(ready);
    calls(NULL);
}

pid_t calling_start(int (*child)(int ready), function *call)
{
    memset((void *)shared, 0, sizeof(*shared));
    shared->call = call;
    return fixture_start(child);
}

uint64_t all_calls(void)
{
    uint64_t n = 0;

    for (int i = 0; i < THREADS; i++)
        n += shared->calls[i];
    return n;
}

static bool any_is_busy(void)
{
    for (int i = 0; i < THREADS; i++)
        if (shared->busy[i])
            return true;
    return false;
}

void run_threads(struct fixture *f, int msec)
{
    shared->go = 1;
    fixture_serve_for(f, msec);
    for (int i = 0; i < 500 && all_calls() < CALLS_MIN; i++)
        fixture_serve_for(f, 10);
    shared->go = 0;
    /* Until no call is under way; whoever has just seen `go` begins one more. */
    fixture_serve_for(f, 5);
    for (int i = 0; i < 500 && any_is_busy(); i++)
        fixture_serve_for(f, 10);
    assert_false(any_is_busy());
    fixture_serve_for(f, 5);
}

bool text_is_clean(pid_t pid)
{
    char path[32];
    uint8_t bytes[16];
    bool clean = true;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < N_CALLING_FUNCTIONS; i++) {
        assert_int_equal(
            pread(fd, bytes, sizeof(bytes), (off_t)(uintptr_t)calling_functions[i].call),
            sizeof(bytes));
        clean = clean && memcmp(bytes, (void *)calling_functions[i].call, sizeof(bytes)) == 0;
    }
    close(fd);
    return clean;
}
