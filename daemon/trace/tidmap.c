/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "daemon/trace/tidmap.h"
#include "daemon/trace/tracee.h"

/* Thread ids are mostly consecutive; the multiplication spreads them. */
static size_t home(const struct tidmap *m, pid_t tid)
{
    return ((uint32_t)tid * UINT32_C(2654435769) >> 7) & m->mask;
}

static void place(struct tidmap *m, struct tracee *t)
{
    size_t i = home(m, t->tid);

    while (m->slots[i])
        i = (i + 1) & m->mask;
    m->slots[i] = t;
}

static int grow(struct tidmap *m)
{
    struct tidmap bigger = {.mask = m->slots ? m->mask * 2 + 1 : 31, .n = m->n};

    bigger.slots = calloc(bigger.mask + 1, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; m->slots && i <= m->mask; i++)
        if (m->slots[i])
            place(&bigger, m->slots[i]);
    free(m->slots);
    *m = bigger;
    return 0;
}

int tidmap_insert(struct tidmap *m, struct tracee *t)
{
    /* Two slots in three are free at the least after growing: probes stay short. */
    if (!m->slots || (m->n + 1) * 3 > (m->mask + 1) * 2) {
        int r = grow(m);

        if (r < 0)
            return r;
    }
    place(m, t);
    m->n++;
    return 0;
}

static size_t find(const struct tidmap *m, pid_t tid)
{
    size_t i = home(m, tid);

    while (m->slots[i] && m->slots[i]->tid != tid)
        i = (i + 1) & m->mask;
    return i;
}

struct tracee *tidmap_get(const struct tidmap *m, pid_t tid)
{
    return m->slots ? m->slots[find(m, tid)] : NULL;
}

void tidmap_remove(struct tidmap *m, pid_t tid)
{
    size_t hole, i;

    if (!m->slots)
        return;
    i = hole = find(m, tid);
    if (!m->slots[hole])
        return;
    for (;;) {
        i = (i + 1) & m->mask;
        if (!m->slots[i])
            break;
        /* An entry may move back into the hole unless its home lies behind it. */
        if (((i - home(m, m->slots[i]->tid)) & m->mask) < ((i - hole) & m->mask))
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = NULL;
    m->n--;
}

void tidmap_done(struct tidmap *m)
{
    free(m->slots);
    *m = (struct tidmap){0};
}
