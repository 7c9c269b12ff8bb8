/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/events.h"
#include "daemon/broker/gather.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

bool session_number(const char *id, uint64_t *ret)
{
    char again[PTRACED_SESSION_ID_MAX + 1];
    uint64_t number;

    /* Only what the broker would have written itself. */
    if (sscanf(id, "s%" SCNu64, &number) != 1)
        return false;
    snprintf(again, sizeof(again), "s%" PRIu64, number);
    if (strcmp(again, id) != 0)
        return false;
    *ret = number;
    return true;
}

struct session *session_find(struct broker *b, const char *id)
{
    uint64_t number;

    return session_number(id, &number) ? index_find(&b->sessions, number) : NULL;
}

struct session *session_ref(struct session *s)
{
    s->n_ref++;
    return s;
}

struct session *session_unref(struct session *s)
{
    if (!s || --s->n_ref > 0)
        return NULL;
    free(s->name);
    free(s->owner);
    free(s->holder);
    free(s);
    return NULL;
}

void session_unrefp(struct session **s)
{
    session_unref(*s);
}

static int session_init(struct session *s, struct broker *b,
                        const struct session_settings *settings)
{
    *s = (struct session){
        .n_ref = 1,
        .broker = b,
        .number = settings->number,
        .uid = settings->uid,
        .persistent = settings->persistent,
        .queue = settings->queue,
        .name = strdup(settings->name),
        .owner = strdup(settings->owner),
        .holder = strdup(settings->holder),
    };
    snprintf(s->id, sizeof(s->id), "s%" PRIu64, s->number);
    list_init(&s->subscriptions);
    list_init(&s->shares);
    line_init(&s->line);
    list_init(&s->attachments);
    list_init(&s->gone);
    stash_init(&s->stash);
    list_init(&s->waiters);
    return s->name && s->owner && s->holder ? 0 : -ENOMEM;
}

int session_new(struct broker *b, const struct session_settings *settings, struct caller *creator,
                struct session **ret)
{
    struct session *s;
    int r;

    s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    r = session_init(s, b, settings);
    if (r >= 0)
        r = index_add(&b->sessions, s->number, s);
    if (r < 0) {
        session_unref(s);
        return r;
    }
    if (creator) {
        s->creator = creator;
        list_append(&creator->sessions, &s->of_creator);
    }
    *ret = s;
    return 0;
}

unsigned session_count(const struct broker *b, uid_t uid)
{
    unsigned n = 0;

    for (size_t i = 0; i < b->sessions.n; i++) {
        const struct session *s = b->sessions.items[i].value;

        n += s->uid == uid;
    }
    return n;
}

unsigned session_count_tracees(const struct broker *b, uid_t uid)
{
    unsigned n = 0;

    for (size_t i = 0; i < b->sessions.n; i++) {
        const struct session *s = b->sessions.items[i].value;

        if (s->uid == uid)
            n += s->n_attachments;
    }
    /* Those of sessions that have been closed meanwhile too: they are still held for that user. */
    LIST_FOREACH(struct attach, a, &b->attaches, attaches)
        n += a->session->uid == uid && !a->wish.joins &&
             !attachment_find(a->session, a->target.pid, NULL);
    return n;
}

static void update_streams(struct session *s)
{
    LIST_FOREACH(struct share, share, &s->shares, of_session)
        share_update_stream(share);
}

static struct subscription *find_subscription(struct session *s, const struct caller *c)
{
    LIST_FOREACH(struct subscription, u, &s->subscriptions, of_session)
        if (u->caller == c)
            return u;
    return NULL;
}

int session_subscribe(struct session *s, struct caller *c, sd_bus_error *error)
{
    struct subscription *u;
    int r;

    if (find_subscription(s, c))
        return 0;
    r = limit_check(LIMIT_SUBSCRIBERS, s->n_subscriptions, error);
    if (r < 0)
        return r;
    u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->session = s;
    u->caller = c;
    list_append(&s->subscriptions, &u->of_session);
    list_append(&c->subscriptions, &u->of_caller);
    s->n_subscriptions++;
    update_streams(s);
    return 0;
}

void subscription_free(struct subscription *u)
{
    struct session *s = u->session;

    list_remove(&u->of_session);
    list_remove(&u->of_caller);
    free(u);
    s->n_subscriptions--;
    update_streams(s);
    if (s->n_subscriptions == 0 && !s->closed)
        line_drop(s);
    stream_go_on(&s->broker->stream, s);
}

void session_unsubscribe(struct session *s, const struct caller *c)
{
    struct subscription *u = find_subscription(s, c);

    if (u)
        subscription_free(u);
}

uint64_t session_lost_events(const struct session *s)
{
    uint64_t lost = s->lost;

    LIST_FOREACH(struct share, share, &s->shares, of_session)
        lost += share->lost;
    return lost;
}

struct closing {
    struct broker *broker;
    sd_bus_message *call; /* NULL: nobody waits for it */
};

/* A tracer that did not let go in time is ended. It may be gone by now: it is named by its pid,
 * which the keeper checks against its own. */
static void on_closed(struct gather *g, void *userdata)
{
    _cleanup_free_string_ struct closing *closing = userdata;

    LIST_FOREACH(struct gather_item, item, &g->items, items)
        if (item->timed_out)
            keeper_link_end_tracer(&closing->broker->keeper, item->tracer);
    if (closing->call) {
        sd_bus_reply_method_return(closing->call, NULL);
        sd_bus_message_unref(closing->call);
    }
}

static int tell_tracers(struct session *s, sd_bus_message *call)
{
    _cleanup_(gather_freep) struct gather *g = NULL;
    _cleanup_free_string_ struct closing *closing = NULL;
    int r;

    closing = malloc(sizeof(*closing));
    if (!closing)
        return -ENOMEM;
    *closing = (struct closing){.broker = s->broker, .call = call};
    r = gather_new(s->broker, s->uid, on_closed, closing, &g);
    if (r < 0)
        return r;
    r = gather_session_call(g, s, "CloseSession", NULL);
    if (r < 0)
        return r;
    sd_bus_message_ref(call);
    TAKE_PTR(closing);
    gather_start(TAKE_PTR(g));
    return 0;
}

/* What everybody else has of it. Attachments go at once: their events would have nobody to go to.
 */
static void let_go(struct session *s, const struct caller *by)
{
    struct attachment *a;

    while (!list_empty(&s->subscriptions))
        subscription_free(LIST_FIRST(&s->subscriptions, struct subscription, of_session));
    events_close(s);
    line_done(&s->line);
    list_remove(&s->of_stream);
    while ((a = LIST_FIRST(&s->attachments, struct attachment, of_session))) {
        attachment_set_releaser(a, by);
        attachment_end(a, "closed");
    }
    attachments_forget_gone(s);
    while (!list_empty(&s->shares))
        share_free(LIST_FIRST(&s->shares, struct share, of_session));
    list_remove(&s->of_creator);
    s->creator = NULL;
}

void session_close(struct session *s, sd_bus_message *call)
{
    struct broker *b = s->broker;
    char path[PTRACED_PATH_MAX];
    int r;

    if (s->closed)
        return;
    s->closed = true;
    attach_session_closed(s);
    index_remove(&b->sessions, s->number, s);

    r = tell_tracers(s, call);
    if (r < 0) {
        log_warning(&b->log, "Session %s cannot be closed in order: %s", s->id, strerror(-r));
        if (call)
            sd_bus_reply_method_errno(call, r, NULL);
    }
    let_go(s, call ? caller_of(b, call) : NULL);
    sd_bus_emit_signal(b->bus, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "SessionRemoved", "so",
                       s->id, ptraced_path_session(path, s->id));
    session_unref(s);
}
