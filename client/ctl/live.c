/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "client/ctl/live.h"

static struct live_process *find(const struct live *l, pid_t pid)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->processes[i].pid == pid)
            return &l->processes[i];
    return NULL;
}

static int append(struct live *l, pid_t pid, struct live_process **ret)
{
    if (l->n == l->allocated) {
        size_t more = l->allocated ? l->allocated * 2 : 8;
        struct live_process *p = reallocarray(l->processes, more, sizeof(*p));

        if (!p)
            return -ENOMEM;
        l->processes = p;
        l->allocated = more;
    }
    l->processes[l->n] = (struct live_process){.pid = pid};
    *ret = &l->processes[l->n++];
    return 0;
}

static int count(struct live *l, pid_t pid, int change)
{
    struct live_process *p = find(l, pid);
    int r;

    if (!p) {
        r = append(l, pid, &p);
        if (r < 0)
            return r;
    }
    if (p->balance > 0)
        l->n_alive--;
    p->balance += change;
    if (p->balance > 0)
        l->n_alive++;
    if (p->balance == 0)
        *p = l->processes[--l->n];
    return 0;
}

int live_add(struct live *l, pid_t pid)
{
    return count(l, pid, 1);
}

int live_remove(struct live *l, pid_t pid)
{
    return count(l, pid, -1);
}

bool live_has(const struct live *l, pid_t pid)
{
    const struct live_process *p = find(l, pid);

    return p && p->balance > 0;
}

void live_clear(struct live *l)
{
    free(l->processes);
    *l = (struct live){0};
}
