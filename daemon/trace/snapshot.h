/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/trace/arch.h"
#include "daemon/trace/procfs.h"

struct session;
struct trace;

/* The registers and the stacks of all threads of a process at one instant, at the price of the
 * shortest possible freeze: everything that can be done before it and after it is.
 *
 * What the kernel copies goes into a file, `head` bytes from its start; where it lies there is told
 * by a table of threads. Nothing in it is of a later instant than anything else, except for threads
 * that could not be stopped. */

#define SNAPSHOT_ALIGNMENT 16u

struct snapshot_options {
    const char *sets[ARCH_SETS_MAX]; /* names of register sets */
    size_t n_sets;
    size_t stack;      /* bytes of each stack, from the red zone upwards; 0: none */
    size_t head;       /* bytes to be left free for the caller */
    uint64_t size_max; /* of the file */
};

struct snapshot_thread {
    pid_t tid;
    char comm[PROC_COMM_MAX];
    const char *state; /* tracee_state_to_string(), as it was before */
    char kernel_state; /* R, S, D, ... as it was before; '?': born meanwhile */
    bool stands;       /* else it could not be stopped, and nothing of the following is there */
    bool held;         /* by a session, before and after */
    bool at_signal;    /* siginfo is there */
    bool has_no_room;  /* too many were born meanwhile: no registers, no stack */
    siginfo_t siginfo; /* of the signal that it stands at */
    const struct arch *arch; /* NULL: unknown, or the thread has ended after all */
    uint64_t registers;      /* offset of the sets, each rounded up to SNAPSHOT_ALIGNMENT */
    uint32_t set_sizes[ARCH_SETS_MAX]; /* 0: it has no such set */
    uint64_t stack_pointer;
    uint64_t stack_address; /* where what was read begins in the thread's memory */
    uint64_t stack;         /* its offset in the file */
    uint64_t stack_size;    /* less than asked for where memory ends before that */
};

struct snapshot {
    int fd;
    uint64_t size; /* of the file */
    struct snapshot_thread *threads;
    size_t n_threads;
    /* CLOCK_MONOTONIC: before the first was told to stop, when all stood, when all ran again */
    uint64_t began_usec, stood_usec, ended_usec;
};

#define SNAPSHOT_NULL ((struct snapshot){.fd = -1})

/* Whether some machine has a register set of that name. */
bool snapshot_knows_set(const char *name);

/* Takes those threads of the process that the session traces; all that are traced stand meanwhile.
 * -EUNATCH: the session does not trace it; -EDQUOT: it would be larger than size_max; -ESRCH: it
 * has ended; -EACCES, -EPERM: the kernel does not let us read its memory; -ENOMEM, -ENFILE, ... */
int snapshot_take(struct trace *t, struct session *s, pid_t pid, const struct snapshot_options *o,
                  struct snapshot *ret);

/* Accepts one that is SNAPSHOT_NULL. */
void snapshot_done(struct snapshot *s);
