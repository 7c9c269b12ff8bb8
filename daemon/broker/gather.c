/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/gather.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracer-link.h"

#define QUICK_USEC 1000000

static void item_free(struct gather_item *item)
{
    list_remove(&item->items);
    sd_bus_message_unref(item->reply);
    sd_bus_error_free(&item->error);
    free(item);
}

static void gather_free(struct gather *g)
{
    while (!list_empty(&g->items))
        item_free(LIST_FIRST(&g->items, struct gather_item, items));
    list_remove(&g->gathers);
    free(g);
}

static void gather_settle(struct gather *g)
{
    if (--g->n_pending > 0)
        return;
    if (g->done)
        g->done(g, g->userdata);
    gather_free(g);
}

/* With calls under way it cannot go yet: their answers come to nothing. */
void gather_freep(struct gather **g)
{
    if (!*g)
        return;
    (*g)->done = NULL;
    gather_settle(*g);
}

int gather_new(struct broker *b, uid_t uid, gather_done_t done, void *userdata, struct gather **ret)
{
    struct gather *g;

    g = malloc(sizeof(*g));
    if (!g)
        return -ENOMEM;
    /* One is pending until all has been added. */
    *g = (struct gather){
        .broker = b,
        .uid = uid,
        .timeout_usec = b->tracer_timeout_usec,
        .n_pending = 1,
        .done = done,
        .userdata = userdata,
    };
    list_init(&g->items);
    list_append(&b->gathers, &g->gathers);
    *ret = g;
    return 0;
}

int gather_check(const struct broker *b, uid_t uid, sd_bus_error *error)
{
    size_t n = 0;

    LIST_FOREACH(struct gather, g, &b->gathers, gathers)
        if (g->uid == uid)
            n += g->n_pending;
    return limit_check(LIMIT_GATHERED, n, error);
}

void gather_be_quick(struct gather *g)
{
    if (g->timeout_usec > QUICK_USEC)
        g->timeout_usec = QUICK_USEC;
}

static void on_reply(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct gather_item *item = userdata;

    item->reply = sd_bus_message_ref(reply);
    if (error) {
        sd_bus_error_copy(&item->error, error);
        item->timed_out = sd_bus_error_has_name(error, PTRACED_ERROR_TIMED_OUT);
    }
    gather_settle(item->gather);
}

int gather_add(struct gather *g, struct tracer *t, sd_bus_message *m, pid_t pid)
{
    struct gather_item *item;
    int r;

    item = malloc(sizeof(*item));
    if (!item)
        return -ENOMEM;
    *item = (struct gather_item){.gather = g, .tracer = t->pid};
    snprintf(item->path, sizeof(item->path), "%s", sd_bus_message_get_path(m));
    list_append(&g->items, &item->items);
    /* What it does not take would only be kept here. */
    if (tracer_is_behind(t) && !sd_bus_message_is_method_call(m, NULL, "CloseSession")) {
        tracer_explain_silence(t, pid, &item->error);
        item->timed_out = true;
        return 0;
    }

    r = tracer_call(t, m, g->timeout_usec, pid, on_reply, item);
    if (r < 0) {
        item_free(item);
        return r;
    }
    g->n_pending++;
    return 0;
}

static int session_call(struct gather *g, struct tracer *t, const char *id, const char *member,
                        sd_bus_message *rest)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    r = tracer_new_call(t, member, &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "s", id);
    if (r < 0)
        return r;
    if (rest) {
        r = sd_bus_message_rewind(rest, true);
        if (r < 0)
            return r;
        r = sd_bus_message_copy(m, rest, true);
        if (r < 0)
            return r;
    }
    return gather_add(g, t, m, 0);
}

int gather_session_call(struct gather *g, struct session *s, const char *member,
                        sd_bus_message *rest)
{
    LIST_FOREACH(struct share, share, &s->shares, of_session) {
        int r = session_call(g, share->tracer, s->id, member, rest);

        /* One whose connection has just ended has nothing of the session any more. */
        if (r < 0 && r != -ENOTCONN)
            return r;
    }
    return 0;
}

void gather_start(struct gather *g)
{
    gather_settle(g);
}

const sd_bus_error *gather_first_error(const struct gather *g)
{
    LIST_FOREACH(struct gather_item, item, &g->items, items)
        if (sd_bus_error_is_set(&item->error))
            return &item->error;
    return NULL;
}
