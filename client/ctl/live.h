/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Which processes a follower still has to wait for.
 *
 * Births (it was attached, or its parent's fork says so) and deaths are counted against each
 * other, since they need not come in order: a child may have ended before its parent's fork event
 * is read, and a pid may be used again. */

struct live_process {
    pid_t pid;
    int balance; /* births - deaths, never 0 */
};

struct live {
    struct live_process *processes;
    size_t n, allocated;
    size_t n_alive; /* of them, those with a positive balance */
};

/* -ENOMEM, and then nothing has changed. */
int live_add(struct live *l, pid_t pid);
int live_remove(struct live *l, pid_t pid);

bool live_has(const struct live *l, pid_t pid);
static inline bool live_any(const struct live *l)
{
    return l->n_alive > 0;
}

/* Forgets everything. */
void live_clear(struct live *l);
