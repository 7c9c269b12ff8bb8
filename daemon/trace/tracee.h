/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/trace/stop.h"

struct engine;
struct process;

/* What a traced thread is doing, as far as its tracer knows. */
enum tracee_state {
    TRACEE_NEW, /* attached by the kernel at its creation; its first stop is still to come */
    TRACEE_RUNNING,
    TRACEE_STOPPING,  /* PTRACE_INTERRUPT was sent */
    TRACEE_STOPPED,   /* in a ptrace-stop that was collected */
    TRACEE_LISTENING, /* job-control stopped, under PTRACE_LISTEN */
    TRACEE_EXITING,   /* past its exit stop: nothing but its end can come, or an exec's takeover */
    TRACEE_GONE,
    TRACEE_STATE_MAX,
};

enum tracee_input {
    TRACEE_INTERRUPT, /* we sent PTRACE_INTERRUPT */
    TRACEE_STOP,      /* a wait collected a stop */
    TRACEE_CONT,      /* we resumed it */
    TRACEE_LISTEN,    /* we sent PTRACE_LISTEN */
    TRACEE_END,       /* a wait collected its end */
    TRACEE_INPUT_MAX,
};

/* One traced thread. */
struct tracee {
    pid_t tid;
    uint8_t state;           /* enum tracee_state */
    uint8_t stop;            /* enum stop_kind: the stop it stands in while STOPPED */
    bool in_vfork;           /* waits for its child, and stops for nobody until then */
    bool unwanted;           /* nobody's child: let go at its first stop */
    uint8_t group_signo;     /* job-control stopped by this signal; 0: not */
    uint8_t resume_signo;    /* delivered when it is resumed */
    int ledger_slot;         /* of its collected signal; -1: none */
    struct process *process; /* NULL: a stray, see strays in trace.h */
    struct engine *engines;
    TAILQ_ENTRY(tracee) siblings; /* process->tracees or trace->strays */
};

/* The state after an input, or -EINVAL for what cannot be. Pure. */
int tracee_next_state(enum tracee_state state, enum stop_kind stop, enum tracee_input input);

/* Applies an input; asserts that it can be. */
void tracee_apply(struct tracee *t, enum tracee_input input);

const char *tracee_state_to_string(enum tracee_state state);
