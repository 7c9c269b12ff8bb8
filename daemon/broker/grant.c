/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "bus-api/internal.h"
#include "daemon/broker/allowance.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

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
    uint64_t observe_usec;
    uint64_t raised_usec;
    uint32_t raised_share;
};

/* As much as there can be: the tracer knows how much that is. */
#define ALL_OF_IT_USEC UINT64_MAX
/* Of what passes a tracer gets a hundredth back, a user's second tracer half of that, and so on:
 * with a hundred and more of them it is some hundredths together. */
#define RAISED_SHARE 100u

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
        r = sd_bus_message_append(m, "bttu", (int)c->by_proof, c->observe_usec, c->raised_usec,
                                  c->raised_share);
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

static uint32_t count_tracers(const struct broker *b, uid_t uid)
{
    uint32_t n = 0;

    LIST_FOREACH(struct tracer, t, &b->tracers, tracers) {
        bool is_users = false;

        LIST_FOREACH(struct share, share, &t->shares, of_tracer)
            is_users |= share->session->uid == uid;
        n += is_users;
    }
    return n;
}

/* The first grant that a tracer is told of says how much it has. */
static void allow(struct credentials *c, const struct attach *a)
{
    struct broker *b = a->broker;
    struct tracer *t = a->tracee->tracer;
    uid_t uid = a->session->uid;
    uint32_t n = count_tracers(b, uid);
    uint64_t now = 0;

    (void)sd_event_now(b->event, CLOCK_MONOTONIC, &now);
    c->observe_usec = a->wish.observe && a->grant == ATTACH_OTHER
                          ? allowance_take(&b->allowances, uid, ALLOWANCE_OBSERVE, now)
                          : ALL_OF_IT_USEC;
    c->raised_usec = t->by_grant ? 0 : allowance_take(&b->allowances, uid, ALLOWANCE_RAISED, now);
    c->raised_share = RAISED_SHARE * (n > 0 ? n : 1);
    t->by_grant = true;
}

/* For the program that polkit was told of. */
static struct credentials one_program(const struct target *t)
{
    struct credentials c = credentials_of(t);

    c.one_program = true;
    c.program = t->program;
    c.program_size = t->program_size;
    return c;
}

int grant_append_renewed(sd_bus_message *m, const struct target *t)
{
    struct credentials c = t ? one_program(t) : (struct credentials){0};

    c.raised_share = RAISED_SHARE;
    return append(m, false, &c);
}

int grant_append(sd_bus_message *m, const struct attach *a)
{
    struct credentials c = credentials_of(&a->asked);

    switch (a->grant) {
    case ATTACH_NOTHING:
        return -EACCES;
    case ATTACH_EVERYTHING:
        return append(m, true, &(struct credentials){.raised_share = RAISED_SHARE});
    case ATTACH_OWN:
        c = (struct credentials){
            .users = &a->caller->uid,
            .n_users = 1,
            .groups = a->caller->groups,
            .n_groups = a->caller->n_groups,
            .user_namespace = a->asked.user_namespace,
        };
        break;
    case ATTACH_PROVEN:
        c.by_proof = true;
        break;
    case ATTACH_OTHER:
        c = one_program(&a->asked);
        break;
    }
    allow(&c, a);
    return append(m, false, &c);
}
