/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that run through a straight line of known length over and over, and now and then leave
 * it.
 *
 *     runs-in-circles [THREADS]
 *
 * It says "ready START END COUNTS TID..." in hexadecimal numbers but for the thread ids: the line
 * is the code from START up to END, eight instructions that do nothing and two that lead back to
 * START, ROUNDS times; COUNTS is an array of unsigned longs, how often each thread has left the
 * line. The main thread answers "report" with the sum. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define THREADS_MAX 16u
#define ROUNDS 20ul

static volatile unsigned long counts[THREADS_MAX];
static atomic_int tids[THREADS_MAX];

void circle(unsigned long rounds);
extern const char circle_start[], circle_end[];

#ifdef __x86_64__
#define BACK "dec %rdi; jnz circle_start"
#else
#define BACK "subs x0, x0, #1; b.ne circle_start"
#endif

__asm__(".text\n"
        ".globl circle, circle_start, circle_end\n"
        ".type circle, %function\n"
        "circle:\n"
        "circle_start:\n"
        "    .rept 8\n"
        "    nop\n"
        "    .endr\n"
        "    " BACK "\n"
        "circle_end:\n"
        "    ret\n"
        ".size circle, . - circle\n");

__attribute__((noreturn)) static void *run(void *number)
{
    uintptr_t i = (uintptr_t)number;

    atomic_store(&tids[i], gettid());
    for (;;) {
        circle(ROUNDS);
        counts[i]++;
    }
}

static void say_ready(unsigned long n)
{
    char line[400];
    int k = snprintf(line, sizeof(line), "ready %lx %lx %lx", (unsigned long)circle_start,
                     (unsigned long)circle_end, (unsigned long)counts);

    for (unsigned long i = 0; i < n; i++) {
        while (atomic_load(&tids[i]) == 0)
            tracee_sleep_usec(500);
        k += snprintf(line + k, sizeof(line) - (size_t)k, " %d", atomic_load(&tids[i]));
    }
    tracee_say("%s", line);
}

int main(int argc, char **argv)
{
    unsigned long n = tracee_number(argc, argv, 1, 1);
    char line[64];

    tracee_start();
    n = n > THREADS_MAX ? THREADS_MAX : n;
    for (uintptr_t i = 0; i < n; i++)
        tracee_thread(run, (void *)i);
    say_ready(n);
    while (tracee_listen(line)) {
        unsigned long sum = 0;

        for (unsigned long i = 0; i < n; i++)
            sum += counts[i];
        tracee_say("progress=%lu", sum);
    }
    return 0;
}
