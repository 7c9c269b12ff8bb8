/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/trace/batch.h"
#include "daemon/trace/grant.h"
#include "daemon/trace/observe.h"
#include "daemon/trace/procfs.h"

int credentials_read(pid_t pid, pid_t tid, struct credentials *ret)
{
    struct proc_status status;
    int r = proc_read_status(tid, &status);

    if (r < 0)
        return r;
    if (status.tgid != pid)
        return -ESRCH;
    *ret = (struct credentials){
        .permitted = status.permitted,
        .user_namespace = proc_read_user_namespace(pid, tid),
        .dumpable = proc_is_dumpable(pid, tid, &status),
    };
    memcpy(ret->uids, status.uids, sizeof(ret->uids));
    memcpy(ret->gids, status.gids, sizeof(ret->gids));
    return 0;
}

struct grant *grant_new(const uid_t *users, size_t n_users, const gid_t *groups, size_t n_groups)
{
    struct grant *g;

    if (n_users > GRANT_USERS_MAX)
        return NULL;
    g = calloc(1, sizeof(*g) + n_groups * sizeof(g->groups[0]));
    if (!g)
        return NULL;
    g->references = 1;
    g->observe_usec = OBSERVE_HOLD_USEC;
    g->raised_usec = BATCH_RAISED_FIRST_USEC;
    g->raised_share = BATCH_RAISED_SHARE;
    g->n_users = n_users;
    g->n_groups = n_groups;
    if (n_users > 0)
        memcpy(g->users, users, n_users * sizeof(*users));
    if (n_groups > 0)
        memcpy(g->groups, groups, n_groups * sizeof(*groups));
    return g;
}

int grant_set_program(struct grant *g, const void *path, size_t size)
{
    char *copy = malloc(size + 1);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, path, size);
    free(g->program);
    g->one_program = true;
    g->program = copy;
    g->program_size = size;
    return 0;
}

struct grant *grant_ref(struct grant *g)
{
    if (g)
        g->references++;
    return g;
}

struct grant *grant_unref(struct grant *g)
{
    if (!g || --g->references > 0)
        return NULL;
    free(g->program);
    free(g);
    return NULL;
}

static bool has_id(const uint32_t *ids, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

bool grant_is_plain(const struct grant *g, uid_t uid)
{
    if (!g || g->permitted != 0 || g->undumpable)
        return false;
    for (size_t i = 0; i < g->n_users; i++)
        if (g->users[i] != uid)
            return false;
    return g->n_users > 0;
}

bool grant_is_same(const struct grant *a, const struct grant *b)
{
    if (!a || !b)
        return a == b;
    return a->permitted == b->permitted && a->user_namespace == b->user_namespace &&
           a->undumpable == b->undumpable && a->one_program == b->one_program &&
           a->program_size == b->program_size && a->n_users == b->n_users &&
           a->n_groups == b->n_groups &&
           (a->program_size == 0 || memcmp(a->program, b->program, a->program_size) == 0) &&
           memcmp(a->users, b->users, a->n_users * sizeof(*a->users)) == 0 &&
           memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0;
}

bool grant_covers(const struct grant *g, const struct credentials *c)
{
    if (!g)
        return true;
    for (size_t i = 0; i < 3; i++)
        if (!has_id(g->users, g->n_users, c->uids[i]) ||
            !has_id(g->groups, g->n_groups, c->gids[i]))
            return false;
    return (c->permitted & ~g->permitted) == 0 && c->user_namespace != 0 &&
           c->user_namespace == g->user_namespace && (c->dumpable || g->undumpable);
}

/* One that has no path, or an unknown one, is none. */
static bool is_program(const struct grant *g, pid_t pid, pid_t tid)
{
    char path[PATH_MAX];
    ssize_t n = proc_read_program(pid, tid, path);

    return n > 0 && (size_t)n == g->program_size && memcmp(path, g->program, (size_t)n) == 0;
}

int grant_check_rights(const struct grant *g, pid_t pid, pid_t tid)
{
    struct credentials c;
    int r;

    if (!g)
        return 0;
    r = credentials_read(pid, tid, &c);
    if (r < 0)
        return r;
    return grant_covers(g, &c) ? 0 : -EKEYREJECTED;
}

int grant_check(const struct grant *g, pid_t pid, pid_t tid)
{
    int r = grant_check_rights(g, pid, tid);

    return r >= 0 && g && g->one_program && !is_program(g, pid, tid) ? -EKEYREJECTED : r;
}
