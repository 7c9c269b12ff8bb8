/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/trace/quota.h"
#include "daemon/trace/shared.h"

struct quota_slot {
    _Atomic uint64_t owner; /* the user's id and one; 0: nobody's */
    _Atomic uint32_t n[QUOTA_KINDS];
};

struct quota_row {
    _Atomic pid_t tracer; /* 0: free */
    struct quota_slot slots[QUOTA_USERS];
};

struct quota_table {
    _Atomic uint32_t n_rows; /* those beyond are free */
    struct quota_row rows[QUOTA_ROWS];
};

struct quota_user {
    const struct quota_table *table;
    struct quota_slot *slot;
    unsigned references;
    uint32_t max[QUOTA_KINDS];
    struct quota_user **self; /* where the tracer has it */
};

int quota_create(int *ret_fd)
{
    return shared_create("ptraced-quota", sizeof(struct quota_table), ret_fd);
}

int quota_map(int fd, struct quota_table **ret)
{
    void *p;
    int r = shared_map(fd, sizeof(**ret), &p);

    if (r >= 0)
        *ret = p;
    return r;
}

void quota_unmap(struct quota_table *q)
{
    if (q)
        munmap(q, sizeof(*q));
}

/* ---- The keeper ----------------------------------------------------------------------------- */

static struct quota_row *find_row(struct quota_table *q, pid_t tracer)
{
    for (uint32_t i = 0; i < QUOTA_ROWS; i++)
        if (atomic_load(&q->rows[i].tracer) == tracer)
            return &q->rows[i];
    return NULL;
}

int quota_give_row(struct quota_table *q, pid_t tracer)
{
    struct quota_row *row = find_row(q, 0);
    uint32_t number;

    if (!row)
        return -ENOSPC;
    number = (uint32_t)(row - q->rows);
    atomic_store(&row->tracer, tracer);
    if (number >= atomic_load(&q->n_rows))
        atomic_store(&q->n_rows, number + 1);
    return 0;
}

void quota_take_back(struct quota_table *q, pid_t tracer)
{
    struct quota_row *row = tracer > 0 ? find_row(q, tracer) : NULL;
    uint32_t n;

    if (!row)
        return;
    for (size_t i = 0; i < QUOTA_USERS; i++) {
        atomic_store(&row->slots[i].owner, 0);
        for (size_t kind = 0; kind < QUOTA_KINDS; kind++)
            atomic_store(&row->slots[i].n[kind], 0);
    }
    atomic_store(&row->tracer, 0);
    for (n = atomic_load(&q->n_rows); n > 0 && atomic_load(&q->rows[n - 1].tracer) == 0; n--)
        ;
    atomic_store(&q->n_rows, n);
}

/* ---- A tracer ------------------------------------------------------------------------------- */

int quota_join(struct quota_table *table, struct quota *ret)
{
    struct quota_row *row = find_row(table, getpid());

    *ret = (struct quota){.table = table, .row = row};
    return row ? 0 : -ENOENT;
}

static struct quota_user *find_user(const struct quota *q, uid_t uid, size_t *ret_free)
{
    *ret_free = QUOTA_USERS;
    for (size_t i = 0; i < QUOTA_USERS; i++) {
        if (!q->users[i])
            *ret_free = i;
        else if (atomic_load(&q->users[i]->slot->owner) == (uint64_t)uid + 1)
            return q->users[i];
    }
    return NULL;
}

void quota_set_max(struct quota *q, uid_t uid, const uint32_t max[QUOTA_KINDS])
{
    size_t i;
    struct quota_user *u = find_user(q, uid, &i);

    if (u)
        memcpy(u->max, max, sizeof(u->max));
}

int quota_open(struct quota *q, uid_t uid, const uint32_t max[QUOTA_KINDS], struct quota_user **ret)
{
    struct quota_user *u;
    size_t i;

    u = find_user(q, uid, &i);
    if (u) {
        *ret = quota_ref(u);
        return 0;
    }
    if (i == QUOTA_USERS)
        return -EUSERS;
    u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    *u = (struct quota_user){
        .table = q->table, .slot = &q->row->slots[i], .references = 1, .self = &q->users[i]};
    memcpy(u->max, max, sizeof(u->max));
    atomic_store(&u->slot->owner, (uint64_t)uid + 1);
    q->users[i] = u;
    *ret = u;
    return 0;
}

struct quota_user *quota_ref(struct quota_user *u)
{
    if (u)
        u->references++;
    return u;
}

struct quota_user *quota_unref(struct quota_user *u)
{
    if (!u || --u->references > 0)
        return NULL;
    atomic_store(&u->slot->owner, 0);
    for (size_t kind = 0; kind < QUOTA_KINDS; kind++)
        atomic_store(&u->slot->n[kind], 0);
    *u->self = NULL;
    free(u);
    return NULL;
}

static uint64_t total(const struct quota_user *u, enum quota_kind kind)
{
    const struct quota_table *q = u->table;
    uint64_t owner = atomic_load(&u->slot->owner), n = 0;
    uint32_t n_rows = atomic_load(&q->n_rows);

    for (uint32_t i = 0; i < n_rows; i++) {
        const struct quota_row *row = &q->rows[i];

        if (atomic_load_explicit(&row->tracer, memory_order_relaxed) == 0)
            continue;
        for (size_t k = 0; k < QUOTA_USERS; k++)
            if (atomic_load_explicit(&row->slots[k].owner, memory_order_relaxed) == owner)
                n += atomic_load(&row->slots[k].n[kind]);
    }
    return n;
}

/* Counted before the sum is made: of two that do so at the same time, one at least sees both. */
bool quota_take(struct quota_user *u, enum quota_kind kind)
{
    if (!u)
        return true;
    quota_add(u, kind);
    if (total(u, kind) <= u->max[kind])
        return true;
    quota_give(u, kind);
    return false;
}

void quota_add(struct quota_user *u, enum quota_kind kind)
{
    if (u)
        atomic_fetch_add(&u->slot->n[kind], 1);
}

void quota_give(struct quota_user *u, enum quota_kind kind)
{
    if (u)
        atomic_fetch_sub(&u->slot->n[kind], 1);
}

uint32_t quota_max(const struct quota_user *u, enum quota_kind kind)
{
    return u->max[kind];
}
