/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Time that a tracer gives away by itself and takes back by itself, but only knows of while it
 * lives: of that for which observers may hold a process (daemon/trace/observe.h), and of that in a
 * raised scheduling class (daemon/trace/batch.h). Who lets go and comes again has another tracer,
 * and would have all of it anew. So what each user may begin with is kept here, and comes back as
 * time passes, whether anything is traced or not. */

enum allowance {
    ALLOWANCE_OBSERVE, /* of processes that are not the user's own */
    ALLOWANCE_RAISED,
    _ALLOWANCE_MAX,
};

#define ALLOWANCE_USERS 256u

struct allowance_user {
    uid_t uid;
    uint64_t at_usec;              /* CLOCK_MONOTONIC; 0: nobody's, and all is there */
    uint64_t left[_ALLOWANCE_MAX]; /* then, in usec */
};

/* All zero is a beginning. The last one is shared by all for whom there is no room. */
struct allowances {
    struct allowance_user users[ALLOWANCE_USERS];
};

/* As much as is left, in usec, up to what one process or one tracer may have; it is gone then. */
uint64_t allowance_take(struct allowances *a, uid_t uid, enum allowance which, uint64_t now_usec);
