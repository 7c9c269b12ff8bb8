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
#include "daemon/broker/copy.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* Half a window, so that the tracer never stands still while the subscribers keep up. */
#define CREDIT_BATCH (PTRACED_STREAM_WINDOW / 2)

/* Events of one message, which stands before the next one. */
struct batch {
    struct list batches;
    struct line *line;
    sd_bus_message *message;
    unsigned n_passed;
    struct share *share; /* NULL: it has gone, or there was none */
    unsigned n_orphans;  /* then: what is left */
};

static void batch_free(struct batch *batch)
{
    list_remove(&batch->batches);
    batch->line->n_orphans -= batch->n_orphans;
    if (batch->share)
        batch->share->n_batches--;
    sd_bus_message_unref(batch->message);
    free(batch);
}

void line_init(struct line *line)
{
    list_init(&line->batches);
    line->n_orphans = 0;
}

void line_done(struct line *line)
{
    while (!list_empty(&line->batches))
        batch_free(LIST_FIRST(&line->batches, struct batch, batches));
}

/* ---- One event ---- */

static int new_signal(struct session *s, sd_bus_message **ret)
{
    char path[PTRACED_PATH_MAX];

    return sd_bus_message_new_signal(s->broker->bus, ret, ptraced_path_session(path, s->id),
                                     PTRACED_SESSION_INTERFACE, "ThreadEvent");
}

static int send_signal(const struct subscription *u, sd_bus_message *m, size_t n_bytes)
{
    int r;

    /* The client of a socket has no name, and needs none. */
    if (*u->caller->name) {
        r = sd_bus_message_set_destination(m, u->caller->name);
        if (r < 0)
            return r;
    }
    r = sd_bus_send(u->session->broker->bus, m, NULL);
    if (r < 0)
        return r;
    flow_sent(u->caller, n_bytes);
    return 0;
}

/* Sends the signal to the first subscriber, and a copy to each of the others. */
static int send_to_all(struct session *s, sd_bus_message *first, size_t n_bytes)
{
    bool sent = false;
    int r;

    LIST_FOREACH(struct subscription, u, &s->subscriptions, of_session) {
        _cleanup_bus_message_ sd_bus_message *copy = NULL;

        if (!sent) {
            r = send_signal(u, first, n_bytes);
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
        r = copy_body(copy, first);
        if (r < 0)
            return r;
        r = send_signal(u, copy, n_bytes);
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
static int copy_event(struct session *s, sd_bus_message *to, sd_bus_message *from, size_t *n_bytes)
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
    r = copy_body_counted(to, from, n_bytes);
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
    size_t n_bytes = 0;
    int r;

    /* The last subscriber may have left while the event was on its way. */
    if (list_empty(&s->subscriptions))
        return sd_bus_message_skip(from, PTRACED_EVENT_SIGNATURE);
    r = new_signal(s, &m);
    if (r < 0)
        return r;
    r = copy_event(s, m, from, &n_bytes);
    if (r < 0)
        return r;
    return send_to_all(s, m, n_bytes);
}

/* ---- Credit ---- */

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

/* At once where nothing else is there that would make it more. */
static void settle_credit(struct share *share)
{
    int r;

    if (share->credit == 0 || (share->n_batches > 0 && share->credit < CREDIT_BATCH))
        return;
    r = send_credit(share);
    if (r < 0)
        log_debug(&share->session->broker->log, "Cannot give credit to tracer %d: %s",
                  share->tracer->pid, strerror(-r));
    share->credit = 0;
}

/* ---- The line ---- */

int line_add(struct session *s, struct share *share, sd_bus_message *m)
{
    struct batch *batch;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
    if (r < 0)
        return r;
    batch = malloc(sizeof(*batch));
    if (!batch)
        return -ENOMEM;
    *batch = (struct batch){
        .line = &s->line,
        .message = sd_bus_message_ref(m),
        .share = share,
    };
    list_append(&s->line.batches, &batch->batches);
    if (share)
        share->n_batches++;
    else {
        batch->n_orphans = 1;
        s->line.n_orphans++;
    }
    stream_go_on(&s->broker->stream, s);
    return 0;
}

int line_post(struct session *s, const struct ptraced_event_record *e)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    if (list_empty(&s->subscriptions))
        return 0;
    if (s->line.n_orphans >= PTRACED_QUEUE_MAX) {
        s->lost++;
        return 0;
    }
    r = new_signal(s, &m);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
    if (r < 0)
        return r;
    r = ptraced_event_append(m, e);
    if (r < 0)
        return r;
    r = sd_bus_message_close_container(m);
    if (r < 0)
        return r;
    /* It goes nowhere as it is, and has no cookie of a connection. */
    r = sd_bus_message_seal(m, 1, 0);
    if (r < 0)
        return r;
    r = sd_bus_message_rewind(m, true);
    if (r < 0)
        return r;
    return line_add(s, NULL, m);
}

/* Notes the serial of the next event: 1, or 0 where none is left. */
static int note_next(struct session *s, sd_bus_message *m)
{
    const char *object;
    uint64_t serial, usec;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_STRUCT, PTRACED_EVENT_CONTENTS);
    if (r <= 0)
        return r;
    r = sd_bus_message_read(m, "tto", &serial, &usec, &object);
    if (r < 0)
        return r;
    note_serial(s, object, serial);
    r = sd_bus_message_skip(m, "usba{sv}");
    if (r < 0)
        return r;
    r = sd_bus_message_exit_container(m);
    return r < 0 ? r : 1;
}

/* What is left in the batch, whose serials are noted. It stands where it stood before. */
static int batch_count(struct batch *batch, struct session *s)
{
    int r, n = 0;

    while ((r = note_next(s, batch->message)) > 0)
        n++;
    if (r < 0)
        return r;
    r = sd_bus_message_rewind(batch->message, false);
    for (unsigned i = 0; r >= 0 && i < batch->n_passed; i++)
        r = sd_bus_message_skip(batch->message, PTRACED_EVENT_SIGNATURE);
    return r < 0 ? r : n;
}

/* Its serials are noted now: an event that follows goes on from them. */
static void orphan(struct session *s, struct batch *batch)
{
    int n = batch_count(batch, s);

    batch->share->n_batches--;
    batch->share = NULL;
    if (n > 0 && s->line.n_orphans + (unsigned)n <= PTRACED_QUEUE_MAX) {
        batch->n_orphans = (unsigned)n;
        s->line.n_orphans += batch->n_orphans;
        return;
    }
    if (n < 0)
        log_warning(&s->broker->log, "Cannot keep events of session %s: %s", s->id, strerror(-n));
    s->lost += n > 0 ? (uint64_t)n : 0;
    batch_free(batch);
}

void line_share_gone(struct share *share)
{
    LIST_FOREACH(struct batch, batch, &share->session->line.batches, batches)
        if (batch->share == share)
            orphan(share->session, batch);
}

void line_drop(struct session *s)
{
    while (!list_empty(&s->line.batches)) {
        struct batch *batch = LIST_FIRST(&s->line.batches, struct batch, batches);
        struct share *share = batch->share;
        int n = batch_count(batch, s);

        batch_free(batch);
        if (!share)
            continue;
        share->credit += n < 0 ? PTRACED_STREAM_WINDOW : (uint32_t)n;
        settle_credit(share);
    }
}

/* A batch goes with its last event, and with one that cannot be sent. No credit counts for more
 * than a window. */
static void passed(struct session *s, struct batch *batch, int error)
{
    struct share *share = batch->share;

    batch->n_passed++;
    if (share)
        share->credit = error < 0 ? PTRACED_STREAM_WINDOW : share->credit + 1;
    else if (batch->n_orphans > 0) {
        batch->n_orphans--;
        s->line.n_orphans--;
    }
    if (error < 0) {
        int n = batch_count(batch, s);

        s->lost += n > 0 ? (uint64_t)n : 1;
        log_warning(&s->broker->log, "Cannot pass on events of session %s: %s", s->id,
                    strerror(-error));
    }
    if (error < 0 || sd_bus_message_at_end(batch->message, false) != 0)
        batch_free(batch);
    if (share)
        settle_credit(share);
}

bool line_pass_on(struct session *s)
{
    struct batch *batch;

    while ((batch = LIST_FIRST(&s->line.batches, struct batch, batches))) {
        if (sd_bus_message_at_end(batch->message, false) == 0) {
            passed(s, batch, pass_on(s, batch->message));
            return true;
        }
        batch_free(batch);
    }
    return false;
}
