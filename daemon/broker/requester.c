/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/process.h"
#include "daemon/broker/requester.h"
#include "daemon/broker/target.h"

struct requester {
    requester_told_t told; /* NULL: nobody wants to know any more */
    void *userdata;
};

static void on_inspected(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_free_string_ struct requester *q = userdata;
    struct target t;

    if (!q->told)
        return;
    if (error || target_read(reply, &t) < 0) {
        q->told(NULL, q->userdata);
        return;
    }
    q->told(t.comm, q->userdata);
    target_done(&t);
}

static int inspect(struct keeper_link *k, int pidfd, struct requester *q)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    r = keeper_link_new_call(k, "Inspect", &m, NULL);
    if (r >= 0)
        r = sd_bus_message_append(m, "hu", pidfd, 0u);
    return r < 0 ? r : keeper_link_call(k, m, on_inspected, q, NULL);
}

int requester_look(const struct caller *c, requester_told_t told, void *userdata,
                   struct requester **ret)
{
    _cleanup_free_string_ struct requester *q = NULL;
    _cleanup_close_fd_ int opened = -1;
    int pidfd = c->pidfd;

    if (pidfd < 0 && c->pid > 0 && process_open(c->pid, &opened) >= 0)
        pidfd = opened;
    if (pidfd < 0)
        return 0;
    q = malloc(sizeof(*q));
    if (!q)
        return -ENOMEM;
    *q = (struct requester){.told = told, .userdata = userdata};
    if (inspect(&c->broker->keeper, pidfd, q) < 0)
        return 0;
    *ret = TAKE_PTR(q);
    return 1;
}

struct requester *requester_cancel(struct requester *q)
{
    if (q)
        q->told = NULL;
    return NULL;
}
