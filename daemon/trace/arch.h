/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/trace/arch-xsave.h"

/* What differs between machines: how a program's registers lie in the sets that
 * PTRACE_GETREGSET hands out, and what a breakpoint is. Every table is compiled on every machine
 * and takes nothing from its headers, so that all of them can be tested anywhere. All machines here
 * are little-endian.
 *
 * Register names are gdb's. The functions here are pure: they read and change bytes that the caller
 * has fetched, see regs.h. */

/* How a register is to be read; up to eight bytes they are numbers all the same. */
enum arch_type {
    ARCH_TYPE_UNSIGNED,
    ARCH_TYPE_FLAGS,
    ARCH_TYPE_FLOAT80, /* the x87's extended precision */
    ARCH_TYPE_VECTOR,
};

/* A piece of a register: the halves of ymm0 lie in two places. */
struct arch_part {
    uint8_t component; /* enum arch_xsave_component, where the set is an XSAVE area */
    uint8_t size;      /* bytes; 0: no such part */
    uint16_t offset;   /* into the set, or into the component */
};

#define ARCH_PARTS_MAX 3u
#define ARCH_REGISTER_SIZE_MAX 64u

struct arch_register {
    const char *name;
    uint8_t set;  /* index into arch->sets */
    uint8_t type; /* enum arch_type */
    uint8_t size; /* bytes of all parts, the lowest part first */
    bool read_only;
    struct arch_part parts[ARCH_PARTS_MAX];
};

struct arch_set {
    const char *name;
    uint32_t note;     /* NT_* */
    uint16_t size_max; /* that the kernel returns, or a little more */
    bool is_xsave;
};

#define ARCH_SETS_MAX 5u
#define ARCH_GENERAL 0u /* the first set of every machine: NT_PRSTATUS */

/* What a register is for, whatever it is called. */
enum arch_role {
    ARCH_PC,
    ARCH_SP,
    ARCH_FLAGS,
    ARCH_SYSCALL, /* the number of the system call that the thread is in, or negative */
    ARCH_RESULT,  /* of a system call or a function */
    ARCH_ROLE_MAX,
};

struct arch_place {
    uint8_t set;
    uint8_t size;
    uint16_t offset;
};

struct arch {
    const char *name;
    uint8_t word_size;
    uint8_t breakpoint_size;
    uint8_t breakpoint_behind; /* how far behind it the program counter stands when it was hit */
    uint8_t breakpoint[4];
    uint8_t red_zone; /* bytes below the stack pointer that a function may use */
    /* A call that a stop has interrupted is restarted by setting the program counter back when the
     * thread goes on, wherever that points by then; not so where ARCH_SYSCALL is negative. */
    bool restarts_relative;
    uint16_t general_size; /* what tells machines apart: NT_PRSTATUS has this size */
    const struct arch_set *sets;
    size_t n_sets;
    const struct arch_register *registers;
    size_t n_registers;
    struct arch_place roles[ARCH_ROLE_MAX];
};

extern const struct arch arch_x86_64;
extern const struct arch arch_i386; /* on an x86_64 kernel */
extern const struct arch arch_aarch64;

/* The machine whose general registers have that size; NULL: none that is known. */
const struct arch *arch_by_general_size(size_t size);

/* What the bytes of /proc/PID/auxv tell of a program on this kind of computer: which of its
 * machines it was started for. NULL: unknown, or there are none (a kernel thread, a zombie). A
 * program with CAP_SYS_RESOURCE can change its own (prctl(2), PR_SET_MM), so it is no proof. */
const struct arch *arch_by_auxv(const void *auxv, size_t size);

/* NULL: no such register. */
const struct arch_register *arch_find_register(const struct arch *a, const char *name);

/* Index into a->sets; -ENOENT. */
int arch_find_set(const struct arch *a, const char *name);

/* A register's value in the bytes of its set, `size` (its own size, else -EINVAL) bytes in the
 * order of memory. -EOPNOTSUPP: this machine, or this set's version, lacks it. */
int arch_get(const struct arch *a, const struct arch_register *r, const struct arch_xsave *xsave,
             const void *set, size_t set_size, void *ret, size_t size);

/* The same the other way; also -EPERM: the register cannot be written. */
int arch_put(const struct arch *a, const struct arch_register *r, const struct arch_xsave *xsave,
             void *set, size_t set_size, const void *value, size_t size);

/* For what has to be fast. `set` is that of a->roles[role].set, and long enough. */
uint64_t arch_get_role(const struct arch *a, enum arch_role role, const void *set);
void arch_put_role(const struct arch *a, enum arch_role role, void *set, uint64_t value);

/* Whether a register is what a role stands for. */
bool arch_has_role(const struct arch *a, enum arch_role role, const struct arch_register *r);

/* The kernel will move the program counter back to restart an interrupted call when the thread
 * goes on. `general` are the general registers. */
bool arch_will_restart(const struct arch *a, const void *general);
