/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "bus-api/internal.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/grant.h"

struct credentials {
    const uid_t *users;
    size_t n_users;
    const gid_t *groups;
    size_t n_groups;
    uint64_t permitted;
    uint64_t user_namespace;
    bool undumpable;
    bool one_program;
    const void *program; /* that one */
    size_t program_size;
    bool by_proof;
};

static int append(sd_bus_message *m, bool everything, const struct credentials *c)
{
    int r = sd_bus_message_open_container(m, SD_BUS_TYPE_STRUCT, PTRACED_GRANT_CONTENTS);

    if (r >= 0)
        r = sd_bus_message_append(m, "b", (int)everything);
    if (r >= 0)
        r = sd_bus_message_append_array(m, 'u', c->users, c->n_users * sizeof(uid_t));
    if (r >= 0)
        r = sd_bus_message_append_array(m, 'u', c->groups, c->n_groups * sizeof(gid_t));
    if (r >= 0)
        r = sd_bus_message_append(m, "ttbb", c->permitted, c->user_namespace, (int)c->undumpable,
                                  (int)c->one_program);
    if (r >= 0)
        r = sd_bus_message_append_array(m, 'y', c->program, c->program_size);
    if (r >= 0)
        r = sd_bus_message_append(m, "b", (int)c->by_proof);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

/* What a process had when it was looked at. */
static struct credentials credentials_of(const struct target *t)
{
    return (struct credentials){
        .users = t->uids,
        .n_users = 3,
        .groups = t->gids,
        .n_groups = 3,
        .permitted = t->permitted,
        .user_namespace = t->user_namespace,
        .undumpable = !t->dumpable,
    };
}

int grant_append(sd_bus_message *m, const struct attach *a)
{
    struct credentials c = credentials_of(&a->asked);

    switch (a->grant) {
    case ATTACH_NOTHING:
        break;
    case ATTACH_EVERYTHING:
        return append(m, true, &(struct credentials){0});
    case ATTACH_OWN:
        return append(m, false,
                      &(struct credentials){
                          .users = &a->caller->uid,
                          .n_users = 1,
                          .groups = a->caller->groups,
                          .n_groups = a->caller->n_groups,
                          .user_namespace = a->asked.user_namespace,
                      });
    case ATTACH_PROVEN:
        c.by_proof = true;
        return append(m, false, &c);
    case ATTACH_OTHER:
        c.one_program = true; /* that polkit was told of */
        c.program = a->asked.program;
        c.program_size = a->asked.program_size;
        return append(m, false, &c);
    }
    return -EACCES;
}
