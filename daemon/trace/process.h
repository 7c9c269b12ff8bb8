/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>

#include "daemon/trace/engine.h"
#include "daemon/trace/hardware.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/observe.h"
#include "daemon/trace/pidref.h"
#include "daemon/trace/tracee.h"

struct trace;

/* Why a session traces a process no more. */
enum removal {
    REMOVED_DETACHED, /* by the session */
    REMOVED_ENDED,
    REMOVED_PRIVILEGE, /* it gained more than the session was granted */
    REMOVED_LIMIT,
};

TAILQ_HEAD(tracee_list, tracee);

/* A process of which at least one thread is traced. It stays until its last traced thread is gone
 * or let go; without an attachment it only waits for that. */
struct process {
    struct pidref pidref;
    struct memory memory;
    struct hardware hardware;
    struct space *space; /* NULL: no breakpoint was ever set */
    struct tracee_list tracees;
    size_t n_tracees;
    unsigned n_freezes; /* no thread is resumed or let go, see freeze.h */
    unsigned n_execs;   /* that were looked at */
    unsigned n_awaited; /* sessions that need a grant for its new program: it stands, see renew.h */
    unsigned n_pins;    /* somebody works on it: it is not freed, though it may have ended */
    bool guarded;       /* see process_guard() */
    bool leader_seen;   /* the leader is or was traced: its own end ends the process */
    struct observe_time observe_time; /* all its observers have it together */
    TAILQ_HEAD(, attachment) attachments;
    TAILQ_ENTRY(process) processes;
};

/* Takes the pidref over on success. NULL when memory ran out, or descriptors would. */
struct process *process_new(struct trace *t, struct pidref *pidref);
struct process *process_find(const struct trace *t, pid_t pid);

/* Whether its threads stay in their stops, whoever would have them go on. Accepts NULL: a stray has
 * no process yet. */
static inline bool process_stands(const struct process *p)
{
    return p && (p->n_freezes > 0 || p->n_awaited > 0);
}

/* Before a thread is given what raises a SIGTRAP later (a debug register, a step): whose tracer
 * dies then is repaired by the guardian. Does nothing from the second time on. -ENOSPC: the ledger
 * is full. */
int process_guard(struct trace *t, struct process *p);

/* Whether a thread is still traced by us and within what every session was granted of its process:
 * an exec may have happened whose stop nobody has looked at yet, or that of a thread which nobody
 * traces. To be asked *after* something of the process was opened, since what is opened does not
 * change any more. 0; -EKEYREJECTED; errors of grant_check(). */
int process_check_grants(const struct process *p, pid_t tid);

/* The same for one session, of any thread that it traces: before something is done to the process.
 */
int process_check_grant(const struct attachment *a);

/* Without threads, attachments and pins it goes. */
void process_collect(struct trace *t, struct process *p);

/* Takes a reference to the filter. -ENOMEM */
int process_attach(struct process *p, struct session *s, struct filter *filter,
                   struct attachment **ret);
/* Takes the session's engines away, without touching the threads. */
void process_detach(struct trace *t, struct attachment *a, enum removal why);

/* The process is beyond what the session was granted: it is told so, and no more. Where an attach
 * works on the attachment, that does it later. */
void process_lose_attachment(struct trace *t, struct attachment *a);

/* Forgets an attachment that has no engine, and tells nobody. */
void process_drop_attachment(struct attachment *a);

/* Ends the attachments that have no thread left. */
void process_drop_empty(struct trace *t, struct process *p, enum removal why);

/* A thread of the process (NULL: a stray) in a state. NULL when memory ran out. */
struct tracee *process_add_tracee(struct trace *t, struct process *p, pid_t tid,
                                  enum tracee_state state);
/* Moves a stray to its process. */
void process_adopt(struct trace *t, struct process *p, struct tracee *tracee);
/* Forgets a thread, its engines and its record in the ledger. The process stays, see
 * process_collect(). */
void process_remove_tracee(struct trace *t, struct tracee *tracee);
