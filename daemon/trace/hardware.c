/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/user.h>

#include "daemon/trace/hardware-x86.h"
#include "daemon/trace/ptrace-ops.h"

/* 0 means that a thread has none. */
static void changed(struct hardware *h)
{
    if (++h->generation == 0)
        h->generation = 1;
}

static bool is_equal(const struct hardware_slot *s, const struct hardware_slot *other)
{
    return s->address == other->address && s->size == other->size && s->kind == other->kind &&
           s->tid == other->tid;
}

static int check(uint64_t address, unsigned size, enum hardware_kind kind)
{
#ifdef __x86_64__
    return hardware_x86_check(address, size, kind);
#else
    return -EOPNOTSUPP;
#endif
}

int hardware_add(struct hardware *h, uint64_t address, unsigned size, enum hardware_kind kind,
                 pid_t tid)
{
    const struct hardware_slot wanted = {true, address, (uint8_t)size, (uint8_t)kind, tid, 1};
    int r, free_slot = -ENOSPC;

    r = check(address, size, kind);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++) {
        struct hardware_slot *s = &h->slots[i];

        if (s->used && is_equal(s, &wanted)) {
            s->references++;
            return (int)i;
        }
        if (!s->used && free_slot < 0)
            free_slot = (int)i;
    }
    if (free_slot >= 0) {
        h->slots[free_slot] = wanted;
        changed(h);
    }
    return free_slot;
}

void hardware_remove(struct hardware *h, unsigned slot)
{
    struct hardware_slot *s = &h->slots[slot];

    assert(slot < HARDWARE_SLOTS_MAX && s->used);
    if (--s->references > 0)
        return;
    *s = (struct hardware_slot){0};
    changed(h);
}

uint32_t hardware_guess_hits(const struct hardware *h, pid_t tid, uint64_t pc)
{
    uint32_t watching = 0;

    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++) {
        const struct hardware_slot *s = &h->slots[i];

        if (!s->used || (s->tid != 0 && s->tid != tid))
            continue;
        if (s->kind != HARDWARE_EXECUTE)
            watching |= UINT32_C(1) << i;
        else if (s->address == pc)
            return 0;
    }
    return watching;
}

#ifdef __x86_64__
static int peek(pid_t tid, size_t n, unsigned long *ret)
{
    return ptrace_ops_peek_user(tid, offsetof(struct user, u_debugreg[n]), ret);
}

static int poke(pid_t tid, size_t n, unsigned long word)
{
    return ptrace_ops_poke_user(tid, offsetof(struct user, u_debugreg[n]), word);
}

static int write_slots(const struct hardware *h, pid_t tid, uint64_t control)
{
    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++) {
        int r;

        if (!(control & UINT64_C(1) << (2 * i)))
            continue;
        r = poke(tid, i, h->slots[i].address);
        if (r < 0)
            return r;
    }
    return poke(tid, HARDWARE_X86_CONTROL, control);
}

/* The kernel judges each word by itself, an address by the length that its slot has at that moment:
 * all slots off first, which makes them a byte long, then the addresses, then all on. A refused
 * DR7 leaves the one before it. */
int hardware_sync(const struct hardware *h, pid_t tid, uint32_t *known)
{
    uint64_t control;
    int r;

    if (*known == h->generation)
        return 0;
    control = hardware_x86_control(h, tid);
    if (*known != 0 || control != 0) {
        r = poke(tid, HARDWARE_X86_CONTROL, 0);
        if (r < 0)
            return r;
    }
    if (control != 0) {
        r = write_slots(h, tid, control);
        if (r < 0) {
            if (r != -ESRCH)
                *known = 0;
            return r;
        }
    }
    *known = h->generation;
    return 0;
}

/* A register that was never written is left so: the kernel keeps a record for each that was. */
int hardware_clear(pid_t tid, uint32_t *known)
{
    int r;

    if (*known == 0)
        return 0;
    r = poke(tid, HARDWARE_X86_CONTROL, 0);
    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX && r >= 0; i++) {
        unsigned long address;

        r = peek(tid, i, &address);
        if (r >= 0 && address != 0)
            r = poke(tid, i, 0);
    }
    if (r >= 0)
        r = poke(tid, HARDWARE_X86_STATUS, HARDWARE_X86_STATUS_NONE);
    if (r >= 0)
        *known = 0;
    return r;
}

int hardware_read_hits(pid_t tid, uint32_t *ret_mask, bool *ret_step)
{
    unsigned long status;
    uint32_t mask;
    bool step;
    int r;

    r = peek(tid, HARDWARE_X86_STATUS, &status);
    if (r < 0)
        return r;
    hardware_x86_decode_status(status, &mask, &step);
    if (mask != 0 || step) {
        r = poke(tid, HARDWARE_X86_STATUS, HARDWARE_X86_STATUS_NONE);
        if (r < 0)
            return r;
    }
    *ret_mask = mask;
    *ret_step = step;
    return 0;
}
#else
/* There are no slots, so there is nothing to write. */
int hardware_sync(const struct hardware *h, pid_t tid, uint32_t *known)
{
    *known = h->generation;
    return 0;
}

int hardware_clear(pid_t tid, uint32_t *known)
{
    *known = 0;
    return 0;
}

int hardware_read_hits(pid_t tid, uint32_t *ret_mask, bool *ret_step)
{
    return -EOPNOTSUPP;
}
#endif
