/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/trace/condition.h"

struct attachment;
struct process;
struct regs;
struct trace;
struct tracee;

/* A breakpoint belongs to a session; others never see its stop. Only the tracer inserts it, once
 * for all sessions at an address (space.h), and a thread that hits it stands before it when anybody
 * sees the thread.
 *
 * While an address space holds one, every thread that runs in it is traced, those too that no
 * session wants: the kernel kills who meets it untraced. */

enum breakpoint_kind {
    BREAKPOINT_SOFTWARE,   /* an instruction in the text */
    BREAKPOINT_HARDWARE,   /* a debug register: execution */
    BREAKPOINT_WRITE,      /* a watchpoint: a write */
    BREAKPOINT_READ_WRITE, /* a watchpoint: any access */
    BREAKPOINT_KIND_MAX,
};

struct breakpoint_options {
    enum breakpoint_kind kind;
    uint64_t address;
    unsigned size;    /* of a watchpoint: 1, 2, 4 or 8 bytes, aligned to them */
    pid_t tid;        /* this thread alone; 0: every thread of the session's */
    bool temporary;   /* goes with its first hit */
    bool report_only; /* stops nobody */
    uint64_t ignore;  /* hits that do not count, at first */
    struct condition condition;
};

struct breakpoint {
    uint32_t id; /* counts up in its attachment, from 1 */
    struct breakpoint_options o;
    uint64_t reached; /* by any thread, whether that counted or not */
    uint64_t hits;
    unsigned slot; /* of the debug registers */
    TAILQ_ENTRY(breakpoint) breakpoints;
};

/* -EDQUOT: its user has as many as may be; -EFAULT: nothing is mapped there; -EACCES: what is
 * mapped is no private text, or the kernel does not let us write; -ENOSPC: too many locations, or
 * all debug registers are in use; -EINVAL: a watchpoint's address or size; -ETXTBSY: a descriptor
 * that writes the memory was given away; -EPERM: a thread is traced by somebody else, whom it would
 * kill; -EOPNOTSUPP: this machine has none; -ESTALE: the process has executed another program
 * meanwhile; -ESRCH: it has ended, and the attachment may be gone. */
int breakpoint_add(struct trace *t, struct attachment *a, const struct breakpoint_options *o,
                   uint32_t *ret_id);
/* -ENOENT: there is none of that number. */
int breakpoint_remove(struct trace *t, struct attachment *a, uint32_t id);

/* The session gives the process up. */
void breakpoint_remove_all(struct trace *t, struct attachment *a);
/* The process has left the memory that they are in, by an exec. */
void breakpoint_forget_all(struct trace *t, struct attachment *a);

/* A followed child has a copy of the memory: the session gets a copy of its breakpoints there. */
void breakpoint_copy_all(struct trace *t, const struct attachment *from, struct attachment *to);

/* A thread has hit debug registers, by a mask of their slots. Tells, as below. */
void breakpoint_on_hardware(struct trace *t, struct tracee *tracee, struct regs *regs,
                            uint32_t mask);

/* A thread stands at a breakpoint instruction, before it. Tells the sessions for which it counts.
 */
void breakpoint_on_hit(struct trace *t, struct tracee *tracee, struct regs *regs, uint64_t address);

const char *breakpoint_kind_to_string(enum breakpoint_kind kind);
int breakpoint_kind_from_string(const char *name); /* -EINVAL */
