/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The debug registers of a process's threads: breakpoints and watchpoints that the processor
 * itself looks for. A process has slots, and each of its threads is brought up to date with them
 * while it stands, at the latest before it runs again.
 *
 * How the kernel and x86 behave (tried on Linux 6.18, both x86_64 and i386 tracees):
 *  - A hit is a SIGTRAP with TRAP_HWBKPT; si_addr is the program counter and never the watched
 *    address. Where the thread was stepped too, si_code is TRAP_TRACE and only
 *    hardware_read_hits() tells of the hit: it has to be asked after a step as well.
 *  - HARDWARE_EXECUTE stops before the instruction. The kernel sets RF in the thread's flags, so
 *    that resuming in any way (run, step, with a signal) passes it once, also after an interrupt in
 *    between and after the registers were read and written back. Clearing RF makes it hit again.
 *    RF also passes a slot at another address that the program counter is set to.
 *  - A slot that is set where the thread stands already, or that a step has come to, hits on the
 *    next resume, before anything was executed; so a step may end where it started. Setting RF
 *    (0x10000) in the flags passes it.
 *  - A watch stops after the access, with the program counter behind it; a repeated string
 *    instruction after each iteration, with the program counter still on it. Any access that
 *    touches a watched byte counts, and so does writing the value that was there. The kernel's own
 *    accesses, such as read(2) into a watched buffer, do not.
 *  - New threads and children of fork and vfork have none (DR7 may read as the parent's, without
 *    effect), and an exec takes them away; so a thread's `known` starts with 0 and goes back to it.
 *  - They outlive PTRACE_DETACH and the tracer. A hit without a tracer is a SIGTRAP that kills.
 *  - The kernel keeps a thread's registers reserved once they were written, cleared or not, until
 * it ends or executes another program: perf cannot have them then, nor we what perf has.
 *  - A hit in a thread that blocks or ignores SIGTRAP makes the kernel unblock it and set its
 *    action to the default, as it does for steps and int3. */

enum hardware_kind {
    HARDWARE_EXECUTE,
    HARDWARE_WRITE,
    HARDWARE_READ_WRITE, /* x86 cannot watch reads alone */
};

#define HARDWARE_SLOTS_MAX 4u /* x86: DR0 to DR3 */

struct hardware_slot {
    bool used;
    uint64_t address;
    uint8_t size; /* bytes */
    uint8_t kind; /* enum hardware_kind */
    pid_t tid;    /* 0: every thread */
    unsigned references;
};

/* One in each process; starts as all zero. */
struct hardware {
    struct hardware_slot slots[HARDWARE_SLOTS_MAX];
    uint32_t generation; /* counts changes; a thread that knows another one must be synced */
};

/* Finds an equal slot, which gets one reference more, or takes a free one. Returns its number.
 * -EINVAL: a bad size (execute: 1, else 1, 2, 4 or 8), or an address that is no multiple of it;
 * -EFAULT: not an address of a program; -ENOSPC: all slots are used; -EOPNOTSUPP: not on this
 * machine. */
int hardware_add(struct hardware *h, uint64_t address, unsigned size, enum hardware_kind kind,
                 pid_t tid);

/* Drops one reference of a used slot. */
void hardware_remove(struct hardware *h, unsigned slot);

/* Brings a stopped thread up to date. `known` is the generation that the thread has; 0: nothing was
 * ever set, and nothing is written while it has to have none. -ESRCH: it is gone or runs; then what
 * is known stays. -ENOSPC: perf or another user of the kernel's has the registers. On other
 * errors, too, the thread has none set and *known is 0. */
int hardware_sync(const struct hardware *h, pid_t tid, uint32_t *known);

/* Takes them all from a stopped thread, before it is let go. Who does not know what a thread has
 * passes a `known` that is not 0. -ESRCH */
int hardware_clear(pid_t tid, uint32_t *known);

/* After a SIGTRAP: which slots (bit n for slot n) were hit, and whether a step was done; then
 * forgets both. A slot that the process does not have is a debug register that somebody else has
 * left there. -ESRCH, -EOPNOTSUPP */
int hardware_read_hits(pid_t tid, uint32_t *ret_mask, bool *ret_step);

/* The same for a debug exception that gave no reason (TRAP_BRKPT): every slot that watches memory,
 * for it may be any of them. None where an execute slot is at the program counter: the kernel has
 * not set RF, so that one hits again, with its reason. Pure.
 *
 * A virtual machine can lose DR6: KVM before Linux 6.14 loads an old value where it leaves the
 * guest for a moment between the exception and the guest's reading of DR6 (one hit in a million, as
 * measured), and the guest's kernel takes it for an icebp
 * (arch/x86/kernel/traps.c:exc_debug_user()). */
uint32_t hardware_guess_hits(const struct hardware *h, pid_t tid, uint64_t pc);
