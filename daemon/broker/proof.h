/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct target;

/* What a caller sends as the proof that the kernel would let it trace a process itself: its own
 * open /proc/PID/mem. Whether it is that file at all is judged here, before any tracer is asked: a
 * tracer has to attach before it can tell of which program the memory is (daemon/trace/proof.h),
 * and nobody shall have a process stopped, or a tracer held up, by a descriptor of something else.
 */
struct proof {
    int fd; /* of the call that it came with */
    bool given;
    bool reads;
    bool writes;
    dev_t device;
    uint64_t inode;
};

/* Asks no file system that could take its time. */
void proof_of_fd(int fd, struct proof *ret);

/* Whether it is the target's file, opened for what the access takes. */
bool proof_is_of(const struct proof *p, const struct target *t, bool observe);
