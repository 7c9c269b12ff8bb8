/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/trace/hardware-x86.h"

/* The kernel refuses what reaches beyond TASK_SIZE_MAX; with CAP_SYS_ADMIN some versions took
 * addresses of its own. With five levels of page tables programs may have higher ones, which are
 * refused here: whether there are any cannot be told without asking a thread. */
#define USER_END ((UINT64_C(1) << 47) - 4096)

#define STATUS_HITS 0xfu
#define STATUS_STEP (1u << 14)

int hardware_x86_check(uint64_t address, unsigned size, enum hardware_kind kind)
{
    if (size != 1 && (kind == HARDWARE_EXECUTE || (size != 2 && size != 4 && size != 8)))
        return -EINVAL;
    if (address % size != 0)
        return -EINVAL;
    return address > USER_END - size ? -EFAULT : 0;
}

static uint64_t condition_bits(const struct hardware_slot *s)
{
    switch ((enum hardware_kind)s->kind) {
    case HARDWARE_EXECUTE:
        return 0;
    case HARDWARE_WRITE:
        return 1;
    case HARDWARE_READ_WRITE:
        return 3; /* 2 is for I/O ports */
    }
    return 0;
}

/* 8 came last, and has taken the value that was left. */
static uint64_t length_bits(const struct hardware_slot *s)
{
    return s->size == 8 ? 2 : s->size - 1u;
}

uint64_t hardware_x86_control(const struct hardware *h, pid_t tid)
{
    uint64_t control = 0;

    for (unsigned i = 0; i < HARDWARE_SLOTS_MAX; i++) {
        const struct hardware_slot *s = &h->slots[i];

        if (!s->used || (s->tid != 0 && s->tid != tid))
            continue;
        control |= UINT64_C(1) << (2 * i);
        control |= (condition_bits(s) | length_bits(s) << 2) << (16 + 4 * i);
    }
    return control;
}

void hardware_x86_decode_status(uint64_t status, uint32_t *ret_mask, bool *ret_step)
{
    *ret_mask = status & STATUS_HITS;
    *ret_step = status & STATUS_STEP;
}
