/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/wait.h>

#include "daemon/tracer/access.h"
#include "daemon/tracer/late.h"
#include "daemon/tracer/loop.h"
#include "daemon/tracer/stream.h"
#include "daemon/tracer/tracer.h"

/* The loop blocks in waitid(2), for tracees and doorbell alike (doorbell.h). sd-event is used in
 * its external form: whenever the loop blocks, the event loop has been prepared ("armed"), and its
 * descriptor is what the doorbell polls. */

/* Requests served before the tracees have their turn again. */
#define REQUESTS_PER_TURN 32u
/* Stops served before what they have to say is sent. */
#define STOPS_PER_FLUSH 128u

/* From armed to armed: serves what is ready. */
static int serve_requests(struct tracer *t)
{
    int r;

    t->rearm = false;
    for (unsigned i = 0; i < REQUESTS_PER_TURN; i++) {
        bool ready;

        r = sd_event_wait(t->event, 0);
        if (r < 0)
            return r;
        ready = r > 0;
        if (ready) {
            r = sd_event_dispatch(t->event);
            if (r < 0)
                return r;
        }
        while ((r = sd_event_prepare(t->event)) > 0) {
            r = sd_event_dispatch(t->event);
            if (r < 0)
                return r;
        }
        if (r < 0)
            return r;
        if (!ready)
            break;
    }
    return 0;
}

/* A message that the socket had no room for makes sd-bus ask for POLLOUT, which takes effect when
 * the event loop is prepared anew; so does a timer. */
static int flush_output(struct tracer *t)
{
    uint64_t queued;

    stream_flush(t);
    if (t->bus && sd_bus_get_n_queued_write(t->bus, &queued) >= 0 && queued > 0)
        t->rearm = true;
    return t->rearm ? serve_requests(t) : 0;
}

static int on_ring(struct tracer *t, const siginfo_t *ring)
{
    int r;

    r = serve_requests(t);
    if (r < 0)
        return r;
    if (late_is_any(t)) /* a request may have been what collected the stop */
        late_check(t);
    r = flush_output(t);
    if (r < 0)
        return r;
    r = doorbell_rearm(&t->doorbell, ring);
    if (r == -ESRCH) /* somebody killed it */
        r = doorbell_start(&t->doorbell, sd_event_get_fd(t->event));
    return r;
}

static bool has_output(const struct tracer *t)
{
    return t->output_pending || t->check_idle;
}

int loop_run(struct tracer *t)
{
    unsigned stops = 0;
    siginfo_t report;
    int r;

    r = sd_event_prepare(t->event);
    if (r < 0)
        return r;
    while (!t->exiting) {
        if (t->trace->observers_hold) {
            r = access_watch_holds(t);
            if (r >= 0)
                r = serve_requests(t);
            if (r < 0)
                return r;
        }
        r = trace_next(t->trace, has_output(t) ? WNOHANG : 0, &report);
        if (r < 0 && r != -EINTR)
            return r;
        if (r > 0 && doorbell_is(&t->doorbell, &report)) {
            r = on_ring(t, &report);
            if (r < 0)
                return r;
            stops = 0;
            continue;
        }
        if (r > 0) {
            trace_dispatch(t->trace, &report);
            stops++;
            if (late_is_any(t))
                late_check(t);
            /* A straggler may have been the last. */
            if (!t->idle_told && trace_is_idle(t->trace))
                t->check_idle = true;
        }
        if (has_output(t) && (r == 0 || stops >= STOPS_PER_FLUSH)) {
            r = flush_output(t);
            if (r < 0)
                return r;
            stops = 0;
        }
        if (t->releasing && trace_is_idle(t->trace))
            t->exiting = true;
    }
    return 0;
}
