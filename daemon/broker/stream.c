/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* Events passed on before anything else gets its turn, all shares together and from one of them. */
#define TURN_EVENTS 64u
#define SHARE_EVENTS 16u

/* Messages that may wait to be written to the clients before events are held back, and how many are
 * left when they go on. */
#define UNSENT_HIGH 512u
#define UNSENT_LOW 128u

/* Half a window, so that the tracer never stands still while the client keeps up. */
#define CREDIT_BATCH (PTRACED_STREAM_WINDOW / 2)

/* Events of one message, which stands before the next one. */
struct batch {
    struct list batches;
    sd_bus_message *message;
};

static void batch_free(struct batch *batch)
{
    list_remove(&batch->batches);
    sd_bus_message_unref(batch->message);
    free(batch);
}

static uint64_t unsent(const struct broker *b)
{
    uint64_t n;

    return sd_bus_get_n_queued_write(b->bus, &n) < 0 ? 0 : n;
}

/* ---- One event ---- */

static int new_signal(struct session *s, sd_bus_message **ret)
{
    char path[PTRACED_PATH_MAX];

    return sd_bus_message_new_signal(s->broker->bus, ret, ptraced_path_session(path, s->id),
                                     PTRACED_SESSION_INTERFACE, "ThreadEvent");
}

static int send_signal(struct session *s, const struct subscription *u, sd_bus_message *m)
{
    int r;

    /* The client of a socket has no name, and needs none. */
    if (*u->caller->name) {
        r = sd_bus_message_set_destination(m, u->caller->name);
        if (r < 0)
            return r;
    }
    return sd_bus_send(s->broker->bus, m, NULL);
}

/* Sends the signal to the first subscriber, and a copy to each of the others. */
static int send_to_all(struct session *s, sd_bus_message *first)
{
    bool sent = false;
    int r;

    LIST_FOREACH(struct subscription, u, &s->subscriptions, of_session) {
        _cleanup_bus_message_ sd_bus_message *copy = NULL;

        if (!sent) {
            r = send_signal(s, u, first);
            if (r < 0)
                return r;
            sent = true;
            continue;
        }
        r = sd_bus_message_rewind(first, true);
        if (r < 0)
            return r;
        r = new_signal(s, &copy);
        if (r < 0)
            return r;
        r = sd_bus_message_copy(copy, first, true);
        if (r < 0)
            return r;
        r = send_signal(s, u, copy);
        if (r < 0)
            return r;
    }
    return 0;
}

static void note_serial(struct session *s, const char *object, uint64_t serial)
{
    struct ptraced_path path;
    struct attachment *a;

    if (ptraced_path_parse(object, &path) != PTRACED_PATH_PROCESS)
        return;
    a = attachment_find(s, path.pid, NULL);
    if (a && a->serial < serial)
        a->serial = serial;
}

/* Copies one event without looking at its details. Both messages stand before it. */
static int copy_event(struct session *s, sd_bus_message *to, sd_bus_message *from)
{
    const char *object, *kind;
    uint64_t serial, usec;
    uint32_t tid;
    int stopped, r;

    r = sd_bus_message_enter_container(from, SD_BUS_TYPE_STRUCT, PTRACED_EVENT_CONTENTS);
    if (r < 0)
        return r;
    r = sd_bus_message_read(from, "ttousb", &serial, &usec, &object, &tid, &kind, &stopped);
    if (r < 0)
        return r;
    note_serial(s, object, serial);

    r = sd_bus_message_open_container(to, SD_BUS_TYPE_STRUCT, PTRACED_EVENT_CONTENTS);
    if (r < 0)
        return r;
    r = sd_bus_message_append(to, "ttousb", serial, usec, object, tid, kind, stopped);
    if (r < 0)
        return r;
    r = sd_bus_message_copy(to, from, false);
    if (r < 0)
        return r;
    r = sd_bus_message_close_container(to);
    if (r < 0)
        return r;
    return sd_bus_message_exit_container(from);
}

static int pass_on(struct session *s, sd_bus_message *from)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    /* The last subscriber may have left while the event was on its way. */
    if (list_empty(&s->subscriptions))
        return sd_bus_message_skip(from, PTRACED_EVENT_SIGNATURE);
    r = new_signal(s, &m);
    if (r < 0)
        return r;
    r = copy_event(s, m, from);
    if (r < 0)
        return r;
    return send_to_all(s, m);
}

void stream_post(struct session *s, const struct ptraced_event_record *e)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    if (list_empty(&s->subscriptions))
        return;
    r = new_signal(s, &m);
    if (r >= 0)
        r = ptraced_event_append(m, e);
    if (r >= 0)
        r = send_to_all(s, m);
    if (r < 0)
        log_warning(&s->broker->log, "Cannot send an event of session %s: %s", s->id, strerror(-r));
}

/* ---- Batches ---- */

static int send_credit(struct share *share)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    r = tracer_new_call(share->tracer, "Credit", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "su", share->session->id, share->credit);
    if (r < 0)
        return r;
    r = sd_bus_message_set_expect_reply(m, false);
    if (r < 0)
        return r;
    return sd_bus_send(share->tracer->wire.bus, m, NULL);
}

static void give_credit(struct share *share)
{
    int r;

    if (share->credit == 0)
        return;
    r = send_credit(share);
    if (r < 0)
        log_debug(&share->session->broker->log, "Cannot give credit to tracer %d: %s",
                  share->tracer->pid, strerror(-r));
    share->credit = 0;
}

/* Passes on the next event: 1, or 0 where none is left. */
static int share_next(struct share *share)
{
    struct batch *batch;

    while ((batch = LIST_FIRST(&share->batches, struct batch, batches))) {
        int r = sd_bus_message_at_end(batch->message, false);

        if (r == 0)
            r = pass_on(share->session, batch->message);
        else {
            batch_free(batch);
            continue;
        }
        share->credit++;
        if (r < 0) {
            log_warning(&share->session->broker->log, "Cannot pass on events of session %s: %s",
                        share->session->id, strerror(-r));
            share->credit = PTRACED_STREAM_WINDOW; /* for all that goes with it; no more counts */
            batch_free(batch);
        }
        return 1;
    }
    return 0;
}

/* Returns how many were passed on. */
static unsigned share_turn(struct share *share, unsigned max)
{
    unsigned n = 0;

    while (n < max && share_next(share))
        n++;
    if (list_empty(&share->batches) || share->credit >= CREDIT_BATCH)
        give_credit(share);
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

    while (left > 0 && !list_empty(&st->shares)) {
        struct share *share = LIST_FIRST(&st->shares, struct share, of_stream);

        if (unsent(st->broker) >= UNSENT_HIGH) {
            hold_up(st, true);
            return 0;
        }
        left -= share_turn(share, left < SHARE_EVENTS ? left : SHARE_EVENTS);
        list_remove(&share->of_stream);
        if (!list_empty(&share->batches))
            list_append(&st->shares, &share->of_stream);
    }
    if (!list_empty(&st->shares))
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

int stream_add(struct stream *st, struct share *share, sd_bus_message *m)
{
    struct batch *batch;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
    if (r < 0)
        return r;
    batch = calloc(1, sizeof(*batch));
    if (!batch)
        return -ENOMEM;
    batch->message = sd_bus_message_ref(m);
    list_append(&share->batches, &batch->batches);

    if (share->of_stream.next)
        return 0;
    list_append(&st->shares, &share->of_stream);
    if (sd_event_source_get_enabled(st->drain, NULL) > 0)
        return 0;
    return sd_event_source_set_enabled(st->turn, SD_EVENT_ONESHOT);
}

void stream_flush(struct share *share)
{
    while (share_next(share))
        ;
    list_remove(&share->of_stream);
}

void stream_drop(struct share *share)
{
    while (!list_empty(&share->batches))
        batch_free(LIST_FIRST(&share->batches, struct batch, batches));
    list_remove(&share->of_stream);
}

int stream_init(struct stream *st, struct broker *b)
{
    int r;

    st->broker = b;
    list_init(&st->shares);
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
