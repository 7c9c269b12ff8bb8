/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "bus-api/internal.h"
#include "daemon/tracer/grant-read.h"

static int read_contents(sd_bus_message *m, struct grant **ret)
{
    const void *users, *groups, *program;
    size_t users_size, groups_size, program_size;
    uint64_t permitted, user_namespace, observe_usec, raised_usec;
    uint32_t raised_share;
    int everything, undumpable, one_program, by_proof, r;
    struct grant *g;

    r = sd_bus_message_read(m, "b", &everything);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'u', &users, &users_size);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'u', &groups, &groups_size);
    if (r >= 0)
        r = sd_bus_message_read(m, "ttbb", &permitted, &user_namespace, &undumpable, &one_program);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &program, &program_size);
    if (r >= 0)
        r = sd_bus_message_read(m, "bttu", &by_proof, &observe_usec, &raised_usec, &raised_share);
    if (r < 0)
        return r;
    if (everything) {
        *ret = NULL;
        return 0;
    }
    if (users_size / sizeof(uid_t) > GRANT_USERS_MAX || raised_share == 0)
        return -EINVAL;
    g = grant_new(users, users_size / sizeof(uid_t), groups, groups_size / sizeof(gid_t));
    if (!g)
        return -ENOMEM;
    g->permitted = permitted;
    g->user_namespace = user_namespace;
    g->undumpable = undumpable;
    g->by_proof = by_proof;
    g->observe_usec = observe_usec;
    g->raised_usec = raised_usec;
    g->raised_share = raised_share;
    *ret = g;
    return one_program ? grant_set_program(g, program, program_size) : 0;
}

int grant_read(sd_bus_message *m, struct grant **ret)
{
    struct grant *g = NULL;
    int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_STRUCT, PTRACED_GRANT_CONTENTS);

    if (r < 0)
        return r;
    r = read_contents(m, &g);
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0) {
        grant_unref(g);
        return r;
    }
    *ret = g;
    return 0;
}
