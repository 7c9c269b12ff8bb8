/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <time.h>

/* What the interrupts of the raw loop and those of ours have in common. */

#define INTERRUPTS_MAX 2000u

/* Between two of them the thread gets the processor, spins or blocks again. */
static inline void interrupt_pause(void)
{
    const struct timespec pause = {.tv_nsec = 100000};

    nanosleep(&pause, NULL);
}
