/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-api/macro.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/session.h"

/* Events passed on before anything else gets its turn, all sessions together and of one of them. */
#define TURN_EVENTS 64u
#define SESSION_EVENTS 16u

/* Messages that may wait to be written to the clients before events are held back, and how many are
 * left when they go on. */
#define UNSENT_HIGH 512u
#define UNSENT_LOW 128u

static uint64_t unsent(const struct broker *b)
{
    uint64_t n;

    return sd_bus_get_n_queued_write(b->bus, &n) < 0 ? 0 : n;
}

/* The slowest subscriber rules: each is sent every event, and none is kept for one alone. One that
 * a broker before us has left to us is sent nothing before the bus has told whose name that is. */
static bool is_held(const struct session *s)
{
    LIST_FOREACH(struct subscription, u, &s->subscriptions, of_session)
        if (flow_is_full(u->caller) || !u->caller->known)
            return true;
    return false;
}

/* Returns how many were passed on. */
static unsigned session_turn(struct session *s, unsigned max)
{
    unsigned n = 0;

    while (n < max && !is_held(s) && line_pass_on(s))
        n++;
    return n;
}

static void hold_up(struct stream *st, bool held)
{
    sd_event_source_set_enabled(st->turn, held ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
    sd_event_source_set_enabled(st->drain, held ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int on_turn(sd_event_source *source, void *userdata)
{
    struct stream *st = userdata;
    unsigned left = TURN_EVENTS;

    while (left > 0 && !list_empty(&st->sessions)) {
        struct session *s = LIST_FIRST(&st->sessions, struct session, of_stream);

        if (unsent(st->broker) >= UNSENT_HIGH) {
            hold_up(st, true);
            return 0;
        }
        left -= session_turn(s, left < SESSION_EVENTS ? left : SESSION_EVENTS);
        list_remove(&s->of_stream);
        if (!line_is_empty(&s->line) && !is_held(s))
            list_append(&st->sessions, &s->of_stream);
    }
    if (!list_empty(&st->sessions))
        sd_event_source_set_enabled(st->turn, SD_EVENT_ONESHOT);
    return 0;
}

/* Runs behind every other event source while we are held up. What shrinks the queue is the client's
 * connection becoming writable, which is such a source: nothing is polled. */
static int on_drain(sd_event_source *source, void *userdata)
{
    struct stream *st = userdata;

    if (unsent(st->broker) <= UNSENT_LOW)
        hold_up(st, false);
    return 0;
}

void stream_go_on(struct stream *st, struct session *s)
{
    if (s->of_stream.next || line_is_empty(&s->line) || is_held(s))
        return;
    list_append(&st->sessions, &s->of_stream);
    if (sd_event_source_get_enabled(st->drain, NULL) <= 0)
        sd_event_source_set_enabled(st->turn, SD_EVENT_ONESHOT);
}

int stream_init(struct stream *st, struct broker *b)
{
    int r;

    st->broker = b;
    list_init(&st->sessions);
    r = sd_event_add_defer(b->event, &st->turn, on_turn, st);
    if (r < 0)
        return r;
    r = sd_event_source_set_enabled(st->turn, SD_EVENT_OFF);
    if (r < 0)
        return r;
    r = sd_event_add_post(b->event, &st->drain, on_drain, st);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(st->drain, SD_EVENT_OFF);
}

void stream_done(struct stream *st)
{
    st->turn = sd_event_source_disable_unref(st->turn);
    st->drain = sd_event_source_disable_unref(st->drain);
}
