/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"

/* The general registers of every machine, and any other set with a role in it. */
#define SMALL_SET_MAX 512u

static int fetch_general(pid_t tid, uint8_t general[static SMALL_SET_MAX], const struct arch **ret)
{
    const struct arch *a;
    size_t size = SMALL_SET_MAX;
    int r = ptrace_ops_get_regset(tid, NT_PRSTATUS, general, &size);

    if (r < 0)
        return r;
    a = arch_by_general_size(size);
    if (!a)
        return -EOPNOTSUPP;
    *ret = a;
    return 0;
}

int arch_of_thread(pid_t tid, const struct arch **ret)
{
    uint8_t general[SMALL_SET_MAX];

    return fetch_general(tid, general, ret);
}

/* The memory of a program that is just being loaded: nothing is in it yet (fs/exec.c:exec_mmap()
 * comes long before fs/binfmt_elf.c:create_elf_tables()). */
static bool is_new(const uint8_t *auxv, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (auxv[i] != 0)
            return false;
    return true;
}

int arch_of_process(pid_t pid, const struct arch **ret)
{
    _cleanup_close_ int fd = -1;
    uint8_t auxv[1024]; /* of some twenty entries */
    char path[32];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    n = read(fd, auxv, sizeof(auxv));
    if (n < 0)
        return -errno;
    if (n == 0) /* it has no memory any more */
        return -ESRCH;
    *ret = arch_by_auxv(auxv, (size_t)n);
    return *ret || !is_new(auxv, (size_t)n) ? 0 : -ESTALE;
}

/* What the kernel says of a set that it does not have. */
static int map_missing(int error)
{
    return error == -EINVAL || error == -ENODEV ? -EOPNOTSUPP : error;
}

static int fetch(struct regs *r, size_t set)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    const struct arch_set *s = &r->arch->sets[set];
    size_t size = s->size_max;
    int error;

    if (r->sets[set].bytes)
        return 0;
    bytes = malloc(size);
    if (!bytes)
        return -ENOMEM;
    error = ptrace_ops_get_regset(r->tid, s->note, bytes, &size);
    if (error < 0)
        return map_missing(error);
    r->sets[set].bytes = bytes;
    r->sets[set].size = size;
    bytes = NULL;
    return 0;
}

static int remember(struct regs_set *set)
{
    if (set->before)
        return 0;
    set->before = malloc(set->size);
    if (!set->before)
        return -ENOMEM;
    memcpy(set->before, set->bytes, set->size);
    return 0;
}

int regs_open(pid_t tid, const struct arch_xsave *xsave, struct regs *ret)
{
    uint8_t general[SMALL_SET_MAX];
    struct regs r = {.tid = tid, .xsave = xsave};
    struct regs_set *set = &r.sets[ARCH_GENERAL];
    int error = fetch_general(tid, general, &r.arch);

    if (error < 0)
        return error;
    set->size = r.arch->general_size;
    set->bytes = malloc(set->size);
    if (!set->bytes)
        return -ENOMEM;
    memcpy(set->bytes, general, set->size);
    *ret = r;
    return 0;
}

void regs_done(struct regs *r)
{
    for (size_t i = 0; i < ARCH_SETS_MAX; i++) {
        free(r->sets[i].bytes);
        free(r->sets[i].before);
    }
    *r = (struct regs){0};
}

int regs_get_register(struct regs *r, const struct arch_register *reg, void *ret, size_t size)
{
    const struct regs_set *set = &r->sets[reg->set];
    int error = fetch(r, reg->set);

    if (error < 0)
        return error;
    return arch_get(r->arch, reg, r->xsave, set->bytes, set->size, ret, size);
}

int regs_put_register(struct regs *r, const struct arch_register *reg, const void *value,
                      size_t size)
{
    struct regs_set *set = &r->sets[reg->set];
    int error = fetch(r, reg->set);

    if (error >= 0)
        error = remember(set);
    if (error >= 0)
        error = arch_put(r->arch, reg, r->xsave, set->bytes, set->size, value, size);
    if (error < 0)
        return error;
    r->jumps |= arch_has_role(r->arch, ARCH_PC, reg);
    r->tells_syscall |= arch_has_role(r->arch, ARCH_SYSCALL, reg);
    return 0;
}

int regs_get(struct regs *r, const char *name, void *ret, size_t size)
{
    const struct arch_register *reg = arch_find_register(r->arch, name);

    return reg ? regs_get_register(r, reg, ret, size) : -ENOENT;
}

int regs_put(struct regs *r, const char *name, const void *value, size_t size)
{
    const struct arch_register *reg = arch_find_register(r->arch, name);

    return reg ? regs_put_register(r, reg, value, size) : -ENOENT;
}

int regs_get_set(struct regs *r, size_t set, const void **ret, size_t *ret_size)
{
    int error = fetch(r, set);

    if (error < 0)
        return error;
    *ret = r->sets[set].bytes;
    *ret_size = r->sets[set].size;
    return 0;
}

int regs_put_set(struct regs *r, size_t set, const void *bytes, size_t size)
{
    struct regs_set *s = &r->sets[set];
    int error = fetch(r, set);

    if (error < 0)
        return error;
    if (size != s->size)
        return -EINVAL;
    error = remember(s);
    if (error < 0)
        return error;
    memcpy(s->bytes, bytes, size);
    if (set == ARCH_GENERAL) /* the caller says it all */
        r->tells_syscall = true;
    return 0;
}

/* Or the kernel would set it back by the length of a system call's instruction. */
static void keep_program_counter(struct regs *r)
{
    uint8_t *general = r->sets[ARCH_GENERAL].bytes;

    if (r->jumps && !r->tells_syscall && arch_will_restart(r->arch, general))
        arch_put_role(r->arch, ARCH_SYSCALL, general, UINT64_MAX);
}

static int hand_over(const struct regs *r, size_t set, const uint8_t *bytes)
{
    return ptrace_ops_set_regset(r->tid, r->arch->sets[set].note, bytes, r->sets[set].size);
}

/* A set that was refused may have been taken in part. */
static void take_back(const struct regs *r, size_t last)
{
    for (size_t i = 0; i <= last; i++)
        if (r->sets[i].before)
            (void)hand_over(r, i, r->sets[i].before);
}

int regs_write(struct regs *r, size_t *ret_set)
{
    keep_program_counter(r);
    for (size_t i = 0; i < r->arch->n_sets; i++) {
        int error;

        if (!r->sets[i].before)
            continue;
        error = hand_over(r, i, r->sets[i].bytes);
        if (error < 0) {
            take_back(r, i);
            if (ret_set)
                *ret_set = i;
            return error;
        }
    }
    for (size_t i = 0; i < r->arch->n_sets; i++) {
        free(r->sets[i].before);
        r->sets[i].before = NULL;
    }
    r->jumps = r->tells_syscall = false;
    return 0;
}

static int fetch_role(pid_t tid, enum arch_role role, uint8_t bytes[static SMALL_SET_MAX],
                      size_t *ret_size, const struct arch **ret)
{
    const struct arch *a;
    size_t size = SMALL_SET_MAX;
    uint8_t set;
    int r = fetch_general(tid, bytes, &a);

    if (r < 0)
        return r;
    set = a->roles[role].set;
    if (set == ARCH_GENERAL)
        size = a->general_size;
    else
        r = map_missing(ptrace_ops_get_regset(tid, a->sets[set].note, bytes, &size));
    if (r < 0)
        return r;
    *ret_size = size;
    *ret = a;
    return 0;
}

int regs_read_role(pid_t tid, enum arch_role role, uint64_t *ret)
{
    uint8_t bytes[SMALL_SET_MAX];
    const struct arch *a;
    size_t size;
    int r = fetch_role(tid, role, bytes, &size, &a);

    if (r >= 0)
        *ret = arch_get_role(a, role, bytes);
    return r;
}

/* On x86-64 struct user begins with them: one word takes a third of the time of the whole set. */
int regs_move(struct regs *r, uint64_t pc)
{
    const struct regs_set *set = &r->sets[ARCH_GENERAL];

    arch_put_role(r->arch, ARCH_PC, set->bytes, pc);
#ifdef __x86_64__
    if (r->arch == &arch_x86_64)
        return ptrace_ops_poke_user(r->tid, r->arch->roles[ARCH_PC].offset, pc);
#endif
    return ptrace_ops_set_regset(r->tid, NT_PRSTATUS, set->bytes, set->size);
}

int regs_write_role(pid_t tid, enum arch_role role, uint64_t value)
{
    uint8_t bytes[SMALL_SET_MAX];
    const struct arch *a;
    size_t size;
    int r = fetch_role(tid, role, bytes, &size, &a);

    if (r < 0)
        return r;
    arch_put_role(a, role, bytes, value);
    return ptrace_ops_set_regset(tid, a->sets[a->roles[role].set].note, bytes, size);
}
