/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/trace/insn.h"

/* The ledger: memory that a tracer shares with its keeper. It holds what would be lost with the
 * tracer, so that the keeper can give it back when the tracer dies.
 *
 * A signal-delivery-stop that has been collected is such a thing. waitid(2) takes the signal out of
 * the kernel's hands (task->exit_code becomes 0, kernel/exit.c:wait_task_stopped()); when the
 * tracer then dies, the kernel lets the thread run on without the signal. Hence
 *
 *  - a stop is collected only when a session holds the thread in it (dispatch.c);
 *  - before that, the signal is recorded with its siginfo, for as long as the thread stands; the
 *    record is cleared after the thread was resumed with it. A tracer killed in between leaves a
 *    record too many; the guardian tells that from the thread itself (repair.c);
 *  - the kernel writes what is collected straight into the ledger (ledger_wait_area()): a thread
 * may have gone on to another stop by then, which nobody has recorded.
 *
 * One writer, the tracer's tracing thread; one reader, the keeper, while the writer stands still in
 * its own exit. */

struct ledger;

struct ledger_signal {
    pid_t pid; /* thread group */
    pid_t tid; /* 0: a free slot */
    int signo;
    siginfo_t info;
    bool put_off; /* its thread runs, to be given it a moment later */
    bool undone;  /* a stopping signal, and SIGCONT has been delivered since */
};

/* See shared.h. */
int ledger_create(int *ret_fd);

/* Maps it; the descriptor stays the caller's. */
int ledger_map(int fd, struct ledger **ret);

/* Accepts NULL. */
void ledger_unmap(struct ledger *l);

/* Which tracer writes here. */
void ledger_set_tracer(struct ledger *l, pid_t tracer);
pid_t ledger_get_tracer(const struct ledger *l);

/* Where a wait that collects shall write. */
siginfo_t *ledger_wait_area(struct ledger *l);

/* Records a collected signal. Returns the slot, or -ENOSPC when more threads stand at a signal than
 * the ledger holds (LEDGER_SLOTS); the stop is then held without a record. */
#define LEDGER_SLOTS 32768
int ledger_record_signal(struct ledger *l, pid_t pid, pid_t tid, const siginfo_t *info);
/* It was changed while its thread stood. */
void ledger_update_signal(struct ledger *l, int slot, const siginfo_t *info);
void ledger_clear_signal(struct ledger *l, int slot);

/* The thread goes on without it, for a moment (stepover.h). */
void ledger_mark_put_off(struct ledger *l, int slot);

/* SIGCONT undoes the stops that the threads of a process have still to take, as the kernel does
 * (kernel/signal.c:prepare_signal(), JOBCTL_STOP_DEQUEUED): their records become void. Costs
 * nothing while no stopping signal is recorded. */
void ledger_void_stops(struct ledger *l, pid_t pid);

/* Whether SIGCONT undoes it. Pure. */
bool ledger_signal_stops(int signo);

/* ---- Text that is not the program's own: breakpoint instructions, displaced ones ---- */

#define LEDGER_TEXTS 16384
#define LEDGER_TEXT_SIZE_MAX 16u

struct ledger_text {
    pid_t pid; /* the process, or one of those that share the memory; 0: a free slot */
    uint32_t size;
    uint64_t address;
    uint8_t original[LEDGER_TEXT_SIZE_MAX];
    pid_t through;         /* the thread that executes a copy here; 0: none */
    struct insn_copy copy; /* that one */
};

/* Before the text is changed: what stands there. Returns the slot, or -ENOSPC. */
int ledger_record_text(struct ledger *l, pid_t pid, uint64_t address, const uint8_t *original,
                       size_t size);
/* What stood there has been changed by a client. */
void ledger_update_text(struct ledger *l, int slot, const uint8_t *original, size_t size);
/* A thread is about to be moved to a copy of an instruction, in a text that is recorded. */
void ledger_set_copy(struct ledger *l, int slot, pid_t tid, const struct insn_copy *copy);
/* After the text is the program's own again. */
void ledger_clear_text(struct ledger *l, int slot);

int ledger_get_texts_used(const struct ledger *l);
const struct ledger_text *ledger_get_text(const struct ledger *l, int slot);

/* The thread whose SIGTRAP was collected last has been moved to where it is to go on: before the
 * breakpoint instruction, or behind a copy. Until then its program counter has still to be set
 * back; from then on it may have been emulated over an instruction as long as the breakpoint. Or
 * who executed another program last: what was recorded of the former one is cleared. */
void ledger_settle_trap(struct ledger *l);

/* The tracer ends in order: what is recorded is the guardian's from now on, and nothing is
 * cleared any more. */
void ledger_leave(struct ledger *l);

/* ---- Processes that need more than that ---- */

#define LEDGER_PROCESSES 4096

struct ledger_process {
    pid_t pid;     /* 0: a free slot */
    bool debugged; /* some thread has, or had, debug registers, or is stepped */
    bool stopped;  /* job control has stopped it */
};

/* Before the first debug register is set in a process, or a thread of it stepped. -ENOSPC: too many
 * processes. */
int ledger_set_debugged(struct ledger *l, pid_t pid, bool debugged);
/* A thread has reported a group-stop, or the end of one. Where there is no room nothing happens: a
 * repair then may let it run. */
void ledger_set_stopped(struct ledger *l, pid_t pid, bool stopped);
/* The process is gone. */
void ledger_forget_process(struct ledger *l, pid_t pid);

int ledger_get_processes_used(const struct ledger *l);
const struct ledger_process *ledger_get_process(const struct ledger *l, int slot);

/* ---- What the dying tracer still collects, see lastwait.h ---- */

#define LEDGER_LAST_WAITS 64

/* 0 until the guardian wakes who sleeps on it. */
uint32_t *ledger_bell(struct ledger *l);
siginfo_t *ledger_last_waits(struct ledger *l); /* LEDGER_LAST_WAITS; si_pid 0: unused */

/* Reader: slots that were ever used, and one of them. */
int ledger_get_used(const struct ledger *l);
const struct ledger_signal *ledger_get_signal(const struct ledger *l, int slot);
const siginfo_t *ledger_get_last_wait(const struct ledger *l);
