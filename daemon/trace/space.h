/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ledger;
struct process;
struct trace;

/* An address space with breakpoint instructions in its text: where they are, and what they
 * replaced. A process has none until its first breakpoint. A vfork child shares its parent's; a
 * fork child has a copy of the memory, and so of the breakpoints in it.
 *
 * Whoever reads the memory through us sees the program's own bytes (space_mask()), and what is
 * written over a breakpoint goes to the bytes that it replaced.
 *
 * Each change is in the ledger before it is in the memory, so that the guardian can undo it when
 * the tracer dies. */

#define LOCATION_SIZE_MAX 4u /* bytes of a breakpoint instruction on any machine */
#define LOCATIONS_MAX 1024u  /* in one space */
#define SCRATCH_SIZE 16u     /* room for one displaced instruction */
#define SCRATCHES_MAX 2u     /* at the program's entry point, which it has passed */

struct location {
    uint64_t address;
    uint8_t original[LOCATION_SIZE_MAX];
    unsigned references; /* breakpoints of any session */
    int ledger_slot;
};

/* A piece of text that stands for another while one thread steps through a copy there. */
struct scratch {
    bool used;
    uint8_t original[SCRATCH_SIZE];
    int ledger_slot;
};

struct space {
    unsigned references; /* processes */
    struct ledger *ledger;
    pid_t owner;  /* whose number stands in the ledger */
    uint8_t size; /* of a breakpoint instruction here */
    uint8_t instruction[LOCATION_SIZE_MAX];
    struct location *locations; /* by address */
    size_t n_locations;
    bool shadow_stack_is_known;
    bool has_shadow_stack;
    uint64_t scratch_address; /* 0: there is none; UINT64_MAX: not looked for yet */
    struct scratch scratches[SCRATCHES_MAX];
};

/* The process's own, made where it has none. -ENOMEM, -EOPNOTSUPP: a machine that is not known. */
int space_get(struct process *p, struct ledger *ledger, struct space **ret);

/* The process gets another's: it shares the memory. */
void space_share(struct process *p, struct space *s);

/* The memory is gone, by an exec or with the process: forgets it, and what stands in the ledger
 * where nobody else shares it. Accepts a process without one. */
void space_forget(struct process *p);

static inline bool space_has_locations(const struct space *s)
{
    return s && s->n_locations > 0;
}

struct location *space_find(const struct space *s, uint64_t address);

/* One more breakpoint at an address; the first of them writes the instruction. -EFAULT: no memory;
 * -ENOSPC: LOCATIONS_MAX, or the ledger is full; -ESRCH; -EACCES: the kernel does not let us
 * write. */
int space_insert(struct process *p, struct ledger *ledger, uint64_t address);
/* One breakpoint less; the last of them restores the text, through any process that shares it and
 * lives. `s` is the space of `p`; `p_has_left`: by an exec, so that its memory is another. */
void space_remove(struct trace *t, struct process *p, uint64_t address, bool p_has_left);

/* The memory of `pid`, which has just been forked from the space's: the program's own bytes are put
 * back at every location. */
void space_clean_copy(const struct space *s, pid_t pid);

/* The child's memory is a copy that is to keep its breakpoints: makes its space, with no reference
 * to any of them. space_adopt() gives one, space_settle_copy() restores what nobody took. -ENOMEM,
 * -ENOSPC. */
int space_copy(const struct space *from, struct process *child);
void space_adopt(struct space *s, uint64_t address);
void space_settle_copy(struct trace *t, struct process *child);

/* What was read from `address`: the program's own bytes take the place of ours. */
void space_mask(const struct space *s, uint64_t address, void *buffer, size_t size);

/* What is to be written: returns how many bytes from `address` on are the program's alone, or where
 * it starts with one of ours, takes that into what it replaced and returns -1. */
ssize_t space_divert(struct space *s, uint64_t address, const uint8_t *bytes, size_t size);

/* Takes a free scratch. Returns its number and tells its address; -EAGAIN: all are in use;
 * -EOPNOTSUPP: there is no place for one; -ENOSPC. */
int space_take_scratch(struct process *p, uint64_t *ret_address);
int space_write_scratch(struct process *p, unsigned i, const uint8_t *bytes, size_t size);
void space_return_scratch(struct process *p, unsigned i);

/* The text at a location as the program has it, while everybody else stands; and back. False: there
 * is no such location, or no memory. */
bool space_suspend(struct space *s, struct process *p, uint64_t address);
void space_resume(struct space *s, struct process *p, uint64_t address);

/* Whether its threads have shadow stacks; a stopped one is asked, once. */
bool space_has_shadow_stack(struct space *s, pid_t tid);
