/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>
#include <stddef.h>

#include "daemon/broker/allowance.h"
#include "daemon/broker/limits.h"

static const struct {
    enum limit max; /* of a user, in milliseconds */
    uint64_t once;  /* at a time, in usec */
    unsigned share; /* of the time that passes, one such part comes back */
} kinds[_ALLOWANCE_MAX] = {
    [ALLOWANCE_OBSERVE] = {.max = LIMIT_OBSERVE, .once = 250000, .share = 4},
    [ALLOWANCE_RAISED] = {.max = LIMIT_RAISED, .once = 100000, .share = 50},
};

static uint64_t max_of(enum allowance which)
{
    return (uint64_t)limit_value(kinds[which].max) * 1000;
}

static uint64_t left_at(const struct allowance_user *u, enum allowance which, uint64_t now)
{
    uint64_t left = u->left[which] + (now - u->at_usec) / kinds[which].share;

    return u->at_usec == 0 || left > max_of(which) ? max_of(which) : left;
}

static bool has_all(const struct allowance_user *u, uint64_t now)
{
    for (enum allowance which = 0; which < _ALLOWANCE_MAX; which++)
        if (left_at(u, which, now) < max_of(which))
            return false;
    return true;
}

/* One that has all of it need not be known. */
static struct allowance_user *find(struct allowances *a, uid_t uid, uint64_t now)
{
    struct allowance_user *free = NULL;

    for (size_t i = 0; i < ALLOWANCE_USERS - 1; i++) {
        struct allowance_user *u = &a->users[i];

        if (u->at_usec != 0 && u->uid == uid)
            return u;
        if (!free && has_all(u, now))
            free = u;
    }
    if (free)
        *free = (struct allowance_user){.uid = uid};
    return free ? free : &a->users[ALLOWANCE_USERS - 1];
}

uint64_t allowance_take(struct allowances *a, uid_t uid, enum allowance which, uint64_t now_usec)
{
    struct allowance_user *u = find(a, uid, now_usec);
    uint64_t taken = left_at(u, which, now_usec);

    if (taken > kinds[which].once)
        taken = kinds[which].once;
    for (enum allowance each = 0; each < _ALLOWANCE_MAX; each++)
        u->left[each] = left_at(u, each, now_usec);
    u->at_usec = now_usec;
    u->left[which] -= taken;
    return taken;
}
