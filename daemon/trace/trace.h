/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/trace/arch-xsave.h"
#include "daemon/trace/block-step.h"
#include "daemon/trace/engine.h"
#include "daemon/trace/ledger.h"
#include "daemon/trace/pidref.h"
#include "daemon/trace/process.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/tidmap.h"
#include "daemon/trace/turns.h"

/* The tracing core: every process that one tracer traces, and the sessions that share them.
 *
 * Everything here happens on one thread, the one that called trace_new(): the kernel accepts ptrace
 * calls for a thread from the one that attached it alone. The owner's loop asks trace_next() for
 * reports and hands every one that is not its own child's to trace_dispatch().
 *
 * All functions return 0 (or as documented) or a negative errno. */

struct trace_hooks {
    /* A session's queue has taken in an event, or has had to drop one. */
    void (*event_queued)(struct session *s, void *userdata);
    /* A session began to trace a process, or traces it no more (its last event is queued). `parent`
     * is the process from which it was followed; 0: it was attached. */
    void (*process_added)(struct session *s, pid_t pid, pid_t parent, void *userdata);
    void (*process_removed)(struct session *s, pid_t pid, enum removal why, void *userdata);
    /* A session needs a grant for what a process has just executed: trace_renew() is to be called,
     * within that time. The pidref is borrowed. False: nobody can be asked. May be NULL: the same.
     */
    bool (*exec_asks)(struct session *s, const struct pidref *process, uint32_t number,
                      uint64_t usec_max, void *userdata);
    /* In the exec stop, and before anybody else is told: a session goes on with what a process has
     * just executed, for which it needs no other grant. May be NULL. */
    void (*executed)(struct session *s, pid_t pid, void *userdata);
};

#define TRACE_DEAD_STRAYS 16u

struct trace {
    struct trace_hooks hooks;
    void *userdata;
    struct ledger *ledger;
    struct arch_xsave xsave; /* what this processor's area of extended registers looks like */
    struct regs at_break;    /* of the thread that hit a breakpoint in this turn, or all zero */
    struct tidmap tids;
    struct turns turns;
    TAILQ_HEAD(process_list, process) processes;
    /* Threads that reported their first stop before their creator's event told whose they are. They
     * stand until then. */
    struct tracee_list strays;
    size_t n_processes;
    size_t processes_max;                 /* each takes descriptors */
    pid_t dead_strays[TRACE_DEAD_STRAYS]; /* that ended before they were told of; a ring */
    unsigned n_dead_strays;
    TAILQ_HEAD(session_list, session) sessions;
    struct batch *batch;        /* the outermost that is under way, or NULL */
    enum block_step block_step; /* see trace_get_block_step() */
    bool can_raise;             /* the scheduling class; false once the kernel has said no */
    bool by_grant;              /* some session traces by what it was granted */
    uint64_t raised_at;   /* see batch.h: when it was counted last, CLOCK_MONOTONIC; 0: never */
    uint64_t raised_left; /* then */
    unsigned raised_share;
    int lastwait_fd; /* see lastwait.h; -1: none yet */
    uint32_t last_renewal;
    bool leaving;        /* the tracer ends: what it leaves is the guardian's */
    bool chaperones_due; /* the last breakpoint of a process may have gone */
    bool steps_in_place; /* a thread waits for stepover_run_later() */
    bool observers_hold; /* observe_let_go() is to be called */
    bool gather; /* a thread of an all-stop attachment has stopped: the others are to follow */
};

/* Threads that one tracer holds at the most; what would attach by itself beyond is let go with
 * `lost`, reason `limit`. */
#define TRACE_THREADS_MAX 65536u

int trace_new(const struct trace_hooks *hooks, void *userdata, struct ledger *ledger,
              struct trace **ret);

/* Forgets everything without touching a tracee or the ledger: for the end of the program, when the
 * kernel lets them go and the guardian gives back what they stand at. Accepts NULL, returns NULL.
 */
struct trace *trace_free(struct trace *t);

/* Nothing is attached for any session and nothing is still to be let go. Leaders past their exit
 * stop may remain, whose end is reported only with that of their last thread: the kernel leaves
 * them to their parents when the tracer ends. */
bool trace_is_idle(const struct trace *t);

/* What block-step mode does on this machine, which is tried out at the first call that can. */
enum block_step trace_get_block_step(struct trace *t);

/* One report that a wait with WNOWAIT has found. It is collected, or dealt with so that no wait
 * finds it again. */
void trace_dispatch(struct trace *t, const siginfo_t *wait);

/* ---- attach.c ------------------------------------------------------------------------------ */

struct attach_options {
    struct filter *filter; /* borrowed */
    struct grant *grant;   /* borrowed; NULL: everything; of the first attach to a process */
    int proof;             /* borrowed; see proof.h; looked at where the grant takes one */
    bool filter_is_given;  /* it replaces one that the session has for the process already */
    bool observe;          /* see observe.h; an attach without it gives control, and that stays */
    bool follow_threads;
    bool follow_children;
    bool all_stop; /* a stop of one thread stops all */
    bool stop;     /* stop it at once */
};

/* Attaches a session to a process (tid 0), or to one of its threads. Returns 1, or 0 where the
 * session had the thread already. -ESRCH: gone; -EPERM: the kernel says no (*ret_tid: to which
 * thread); -E2BIG: TRACE_THREADS_MAX; -EDQUOT: what its user may have; -ETIMEDOUT: the process was
 * in execve(2) all the while, see seize.h; -EBUSY: it starts threads faster than they can be
 * attached; -EKEYREJECTED: beyond the grant; -EINPROGRESS: the session has no grant yet for what
 * the process has just executed; -ENOKEY: what it takes was not proved. On failure nothing stays
 * attached that was not before. */
int trace_attach(struct trace *t, struct session *s, const struct pidref *process, pid_t tid,
                 const struct attach_options *o, pid_t *ret_tid);

/* ---- control.c, detach.c -----------------------------------------------------------------------
 */

/* tid 0 means every thread. -EUNATCH: the session does not trace it. */

/* For one thread: 1, or 0 where the session holds it already; -ESRCH: it is past its exit. */
int trace_interrupt(struct trace *t, struct session *s, pid_t pid, pid_t tid);

/* Whether a thread was told to stop for the attachment's session, and has not yet got a processor
 * to do so on. A parent in vfork is not awaited. */
bool trace_awaits_stops(const struct attachment *a);

struct continue_options {
    enum resume_mode mode;           /* until the session holds the thread again */
    uint64_t range_start, range_end; /* RESUME_STEP: goes on while the program counter is inside */
    int signo;                       /* replaces the signal that it stands at; 0: none */
    bool suppress;                   /* drops the signal that it stands at */
};

#define CONTINUE_OPTIONS_DEFAULT ((struct continue_options){.mode = RESUME_RUN})

/* 1 where a stop was given up, 0 where there was none. A replacement is for one thread (tid is not
 * 0) that stands at a signal, or in a stop that the kernel treats as one: a step's, a breakpoint's;
 * else -ENOMSG, and nothing is resumed. An observer can only let a thread run: else -EACCES. */
int trace_continue(struct trace *t, struct session *s, pid_t pid, pid_t tid,
                   const struct continue_options *o);

/* SIGKILL, which works in every state: no session holds what is to die. -ESRCH: it has ended. */
int trace_kill(struct trace *t, struct session *s, pid_t pid);

/* What a session is told of a process, and what holds a thread. Takes a reference to the filter. It
 * holds when this returns: threads that run are stopped for a moment where that is needed, and
 * waited for, but for those that the kernel cannot stop now. */
int trace_set_filter(struct trace *t, struct session *s, pid_t pid, struct filter *filter);

/* Lets go. What does not stand within the batch's patience follows when it does. */
int trace_detach(struct trace *t, struct session *s, pid_t pid, pid_t tid);
void trace_detach_session(struct trace *t, struct session *s);

/* The same of a process that the session may not keep: `lost`, with a reason, and its events stay.
 */
int trace_lose(struct trace *t, struct session *s, pid_t pid, enum lost_reason why);
