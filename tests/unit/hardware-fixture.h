/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/hardware.h"
#include "tests/unit/regs-fixture.h"

/* A child whose debug registers are set. It does what it is told and says so with SIGUSR1, at whose
 * stop the test tells it the next: what does not trap comes as SIGUSR1 at once, so no test waits
 * for nothing to happen. x86_64 alone. */

enum order { READ, WRITE, WRITE_WORD, CALL, LET_KERNEL_WRITE, START_THREAD, FORK, EXEC };

struct scene {
    struct child child;
    struct hardware hardware;
    uint32_t known;
    struct orders {
        enum order order;
        unsigned offset;  /* into the buffer */
        int calls;        /* of called() */
        volatile bool go; /* a signal before the test has attached would end it */
    } * orders;
};

/* What the child reads and writes. */
extern volatile uint8_t buffer[64];

/* Counts a call with its first instruction. Not of C: its address is where it is entered. */
void called(volatile int *count);

int scene_setup(void **state);
int scene_teardown(void **state);

/* Starts the child, which stands at its first SIGUSR1 then. Not done by scene_setup(): an assertion
 * there would leave the child behind. */
struct scene *scene_start(void **state);

/* The same with a function that begins with child_waits_for_test() and raises SIGUSR1. */
void scene_start_function(struct scene *s, int (*function)(void));
void child_waits_for_test(void);

void scene_order(struct scene *s, enum order what, unsigned offset);
int scene_add(struct scene *s, const volatile void *address, unsigned size,
              enum hardware_kind kind);
void scene_sync(struct scene *s);

/* What is to be done hits these slots once, or none. */
void scene_expect(struct scene *s, enum order what, unsigned offset, uint32_t mask);

/* Runs a thread to its next stop; returns its signal, and the event above it. */
int thread_resume(pid_t tid);
void thread_step(pid_t tid);

/* The thread stands at a hit of just these slots. */
void thread_assert_hit(pid_t tid, uint32_t expected, bool expected_step);
