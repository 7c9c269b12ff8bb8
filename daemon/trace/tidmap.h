/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct tracee;

/* From thread id to tracee: open addressing, linear probing, deletion by backward shift. Every stop
 * looks up one thread, so this is on the hot path; a table of 5,000 threads is 128 KiB. */
struct tidmap {
    struct tracee **slots;
    size_t mask; /* number of slots - 1 */
    size_t n;
};

/* -ENOMEM. Until the first insertion nothing is allocated. */
int tidmap_insert(struct tidmap *m, struct tracee *t);
struct tracee *tidmap_get(const struct tidmap *m, pid_t tid);
void tidmap_remove(struct tidmap *m, pid_t tid);
void tidmap_done(struct tidmap *m);
