/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/trace/stop.h"

struct displaced;
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

/* How a thread is resumed, by precedence: of what its sessions want the first wins. */
enum resume_mode {
    RESUME_STEP,
    RESUME_BLOCK_STEP,
    RESUME_SYSCALL, /* stops at the entry and exit of the next system call */
    RESUME_RUN,
    RESUME_MODE_MAX,
};

/* One traced thread. */
struct tracee {
    pid_t tid;
    uint8_t state;           /* enum tracee_state */
    uint8_t stop;            /* enum stop_kind: the stop it stands in while STOPPED */
    bool in_vfork;           /* waits for its child, and stops for nobody until then */
    bool unwanted;           /* nobody's child: let go at its first stop */
    uint8_t resumed;         /* enum resume_mode: how it was resumed last */
    bool is_kept;            /* its stop was collected, since somebody holds it */
    bool exit_is_told;       /* its exit stop has been seen */
    bool owes_group_stop;    /* was taken out of one, for a SIGTRAP of ours */
    bool suppressed;         /* somebody dropped the signal that it stands at */
    bool asks_for_seccomp;   /* PTRACE_O_TRACESECCOMP is set */
    bool stops_at_exit;      /* PTRACE_O_TRACEEXIT is set */
    bool options_known;      /* the two above; a creator's event tells them of a new thread */
    bool call_is_known;      /* `call` is that of the call it is in */
    uint8_t group_signo;     /* job-control stopped by this signal; 0: not */
    uint8_t resume_signo;    /* delivered when it is resumed */
    int ledger_slot;         /* of its collected signal; -1: none */
    bool steps_over_call;    /* a step that is a system call, told at both its ends */
    uint32_t hardware_known; /* see hardware.h */
    bool steps_in_place;     /* waits for stepover_run_later() */
    uint64_t passing_at;     /* stands at this breakpoint, and has been told; 0: not */
    uint64_t again_at; /* a signal took it away from there: its return is no new hit; 0: not */
    uint64_t again_sp; /* the stack pointer then */
    struct displaced *displaced; /* goes through a copy of an instruction */
    siginfo_t *put_off;          /* a signal that came meanwhile */
    int put_off_slot;            /* its record in the ledger */
    uint64_t call;               /* number of the system call that it entered */
    uint64_t arguments[6];
    struct process *process; /* NULL: a stray, see strays in trace.h */
    struct engine *engines;
    TAILQ_ENTRY(tracee) siblings; /* process->tracees or trace->strays */
    TAILQ_ENTRY(tracee) turns;    /* see turns.h, whose the next three are as well */
    uint32_t turn_at;
    bool lively;
    uint8_t n_missed;
};

/* The state after an input, or -EINVAL for what cannot be. Pure. */
int tracee_next_state(enum tracee_state state, enum stop_kind stop, enum tracee_input input);

/* Applies an input; asserts that it can be. */
void tracee_apply(struct tracee *t, enum tracee_input input);

/* As clients see it: running, stepping, stopping, stopped, group-stop, exiting, exited. */
const char *tracee_state_to_string(const struct tracee *t);
