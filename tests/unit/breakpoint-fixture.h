/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/breakpoint.h"
#include "tests/unit/trace-fixture.h"

/* Programs whose threads call a function all the time, and count what comes back. They are forks of
 * the test, so that its functions lie at the same addresses. x86_64 alone. */

/* From one number to the next, each with another kind of instruction in front. */
typedef long function(long);
function f_push, f_nop, f_relative, f_multiply, f_call, f_jump, f_branch, f_vector, f_string,
    f_flags, f_syscall;

/* Those that begin with what a breakpoint has to pass in another way each. */
#define N_CALLING_FUNCTIONS 10
struct calling_function {
    const char *name;
    function *call;
};
extern const struct calling_function calling_functions[N_CALLING_FUNCTIONS];

#define THREADS 4

/* Shared with the tracees. */
struct calling {
    function *call;
    int go; /* threads call as long as it is set */
    int wrong;
    int traps;
    int signals;
    pid_t tids[THREADS];
    uint64_t calls[THREADS];
    int busy[THREADS];
    int child_status;
    int done;
};

/* To be called once, before the first child; NULL on failure. */
volatile struct calling *calling_share(void);

/* Starts a child that has `call` to call, with everything else that is shared zeroed. */
pid_t calling_start(int (*child)(int ready), function *call);
__attribute__((noreturn)) int one_thread_calls(int ready);
__attribute__((noreturn)) int four_threads_call(int ready);

/* Lets them call for `msec`, and until something was to be seen; then waits for the last call. */
void run_threads(struct fixture *f, int msec);
uint64_t all_calls(void);

/* Whether the functions are in the process as they are here. */
bool text_is_clean(pid_t pid);

/* Options for a breakpoint at the beginning of a function. */
static inline struct breakpoint_options at(function *call)
{
    return (struct breakpoint_options){.address = (uint64_t)(uintptr_t)call};
}
