/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/hardware.h"

/* How slots look in x86's debug registers, after Intel's manual, volume 3, chapter "Debug". Pure;
 * compiled on every machine. */

/* Debug registers by number. */
enum {
    HARDWARE_X86_STATUS = 6,  /* DR6: what was hit */
    HARDWARE_X86_CONTROL = 7, /* DR7: which slots are on, and what they look for */
};

/* DR6 with nothing hit: bits that are inverted or always set. */
#define HARDWARE_X86_STATUS_NONE 0xffff0ff0u

/* 0, -EINVAL or -EFAULT, as hardware_add(). */
int hardware_x86_check(uint64_t address, unsigned size, enum hardware_kind kind);

/* DR7 for a thread. */
uint64_t hardware_x86_control(const struct hardware *h, pid_t tid);

void hardware_x86_decode_status(uint64_t status, uint32_t *ret_mask, bool *ret_step);
