/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/macro.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracer-link.h"

/* A tracer that is held up takes none, and clients may change their minds as often as they like:
 * what is wanted when one of some is answered is told then. Those some go at once, so that what a
 * client asks for next does not come before them. */
#define TELLINGS_MAX 16u

struct telling {
    struct list tellings;
    struct broker *broker;
    struct share *share; /* NULL: gone meanwhile */
};

struct share *share_find(const struct session *s, const struct tracer *t)
{
    LIST_FOREACH(struct share, share, &t->shares, of_tracer)
        if (share->session == s)
            return share;
    return NULL;
}

int share_get(struct session *s, struct tracer *t, struct share **ret)
{
    struct share *share = share_find(s, t);

    if (!share) {
        share = calloc(1, sizeof(*share));
        if (!share)
            return -ENOMEM;
        share->session = s;
        share->tracer = t;
        list_init(&share->tellings);
        list_append(&s->shares, &share->of_session);
        list_append(&t->shares, &share->of_tracer);
    }
    *ret = share;
    return 0;
}

void share_free(struct share *share)
{
    line_share_gone(share);
    LIST_FOREACH(struct telling, t, &share->tellings, tellings)
        t->share = NULL;
    share->session->lost += share->lost;
    list_remove(&share->of_session);
    list_remove(&share->of_tracer);
    free(share);
}

static void on_stream_set(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct telling *telling = userdata;

    if (error)
        log_debug(&telling->broker->log, "SetStream failed, ignoring: %s", error->message);
    if (telling->share) {
        list_remove(&telling->tellings);
        telling->share->n_tellings--;
        share_update_stream(telling->share);
    }
    free(telling);
}

static int send_stream(struct share *share, bool on)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct tracer *t = share->tracer;
    struct telling *telling;
    int r;

    r = tracer_new_call(t, "SetStream", &m);
    if (r >= 0)
        r = sd_bus_message_append(m, "sb", share->session->id, on);
    if (r < 0)
        return r;
    telling = calloc(1, sizeof(*telling));
    if (!telling)
        return -ENOMEM;
    telling->broker = t->broker;
    telling->share = share;
    r = tracer_call(t, m, WIRE_NO_TIMEOUT, 0, on_stream_set, telling);
    if (r < 0) {
        free(telling);
        return r;
    }
    list_append(&share->tellings, &telling->tellings);
    share->n_tellings++;
    return 0;
}

void share_update_stream(struct share *share)
{
    bool on = share->session->n_subscriptions > 0;
    int r;

    if (!share->open || share->n_tellings >= TELLINGS_MAX || share->streaming == on)
        return;
    r = send_stream(share, on);
    if (r == -ENOTCONN)
        return; /* and it will not send any */
    if (r < 0)
        log_warning(&share->tracer->broker->log, "Cannot ask tracer %d for events: %s",
                    share->tracer->pid, strerror(-r));
    else
        share->streaming = on;
}
