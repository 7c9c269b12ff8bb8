/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/trace/arch.h"

/* The registers of one thread that stands in a ptrace-stop. Sets are fetched when they are first
 * asked for; what is put is kept here until regs_write(). Nothing here may outlive the stop.
 *
 * Every function that reaches the thread can return -ESRCH: it runs, has ended, or was killed while
 * it stood. */
struct regs {
    pid_t tid;
    const struct arch *arch;
    const struct arch_xsave *xsave;
    struct regs_set {
        uint8_t *bytes;  /* NULL: not fetched */
        uint8_t *before; /* as they were fetched, where something was put since */
        size_t size;
    } sets[ARCH_SETS_MAX];
    bool jumps;         /* the program counter was put */
    bool tells_syscall; /* the number of the system call was put */
};

/* Which machine's registers a stopped thread has. It can change: in an exec, and where a program
 * goes to a code segment of another width. -EOPNOTSUPP: one that is not known here. */
int arch_of_thread(pid_t tid, const struct arch **ret);

/* Which machine's program a process runs, from /proc/PID/auxv; it need not be stopped. An execve
 * under way that hangs holds up who asks. *ret is NULL where it is one that is not known here.
 * -ESRCH: it has none any more, a zombie; -ESTALE: it is about to execute another one. */
int arch_of_process(pid_t pid, const struct arch **ret);

/* xsave is borrowed. As arch_of_thread(). */
int regs_open(pid_t tid, const struct arch_xsave *xsave, struct regs *ret);
/* What was put and not written is dropped. Accepts one that is all zero. */
void regs_done(struct regs *r);
#define _cleanup_regs_ __attribute__((__cleanup__(regs_done)))

/* A register by name, as bytes in the order of memory. -ENOENT: no register has that name; -EINVAL:
 * it has another size; -EOPNOTSUPP: this machine lacks it; -EPERM: it cannot be written. */
int regs_get(struct regs *r, const char *name, void *ret, size_t size);
int regs_put(struct regs *r, const char *name, const void *value, size_t size);

/* The same with what arch_find_register() has found. */
int regs_get_register(struct regs *r, const struct arch_register *reg, void *ret, size_t size);
int regs_put_register(struct regs *r, const struct arch_register *reg, const void *value,
                      size_t size);

/* A whole set by its index; the bytes are valid until the next regs_put() or regs_done(). -EINVAL:
 * a set of the wrong size, which is the one that regs_get_set() tells. */
int regs_get_set(struct regs *r, size_t set, const void **ret, size_t *ret_size);
int regs_put_set(struct regs *r, size_t set, const void *bytes, size_t size);

/* Hands over what was put. All or nothing: where the kernel refuses a value (-EINVAL, -EIO),
 * everything is set back to what it was, and *ret_set says which set it was. A program counter that
 * was put stays: a system call that the stop has interrupted is not restarted then, unless the
 * call's number was put too. */
int regs_write(struct regs *r, size_t *ret_set);

/* Sets the program counter here and in the thread, at once, with a single request. An interrupted
 * system call is left as it is. */
int regs_move(struct regs *r, uint64_t pc);

/* A role's register, with a single request to the kernel (two where it is not a general one). */
int regs_read_role(pid_t tid, enum arch_role role, uint64_t *ret);
/* And its setting, with one request more. An interrupted system call is left as it is. */
int regs_write_role(pid_t tid, enum arch_role role, uint64_t value);
