/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "daemon/keeper/connection.h"
#include "daemon/keeper/keeper.h"
#include "daemon/keeper/log.h"

#define GRACE_USEC (5 * USEC_PER_SEC)    /* for another broker to come */
#define PATIENCE_USEC (5 * USEC_PER_SEC) /* for a released tracer to end */
#define DEATH_USEC (1 * USEC_PER_SEC)    /* for a killed one to be gone */
#define ACCURACY_USEC (USEC_PER_SEC / 10)

static void timer_arm(sd_event_source *timer, uint64_t usec)
{
    int r = sd_event_source_set_time_relative(timer, usec);

    if (r >= 0)
        r = sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
    if (r < 0)
        log_error("Cannot arm a timer, ignoring: %s", strerror(-r));
}

/* A timer that is off costs nothing. */
static void timer_disarm(sd_event_source *timer)
{
    (void)sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}

static int timer_new(struct keeper *k, sd_event_time_handler_t handler, sd_event_source **ret)
{
    int r = sd_event_add_time(k->event, ret, CLOCK_MONOTONIC, 0, ACCURACY_USEC, handler, k);

    return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static void release_tracer(struct tracer *t)
{
    int r = tracer_release(t);

    /* One that is just dying is collected in a moment; one that takes no orders is killed when
     * the keeper's patience is out. */
    if (r < 0 && r != -EPIPE && r != -ECONNRESET)
        log_warning("Tracer %d does not take the order to let go: %s", t->process.pid,
                    strerror(-r));
    t->state = TRACER_RELEASED;
}

static void release_tracers(struct keeper *k, bool ready_too)
{
    struct tracer *t;

    LIST_FOREACH(t, &k->tracers, tracers)
        if (t->state == TRACER_TAKEN || (t->state == TRACER_READY && ready_too))
            release_tracer(t);
    if (ready_too)
        k->ready = NULL;
    k->patience_is_out = false;
    timer_arm(k->patience, PATIENCE_USEC);
}

static void kill_released(struct keeper *k)
{
    struct tracer *t;

    LIST_FOREACH(t, &k->tracers, tracers)
        if (t->state == TRACER_RELEASED) {
            log_warning("Tracer %d has not let go in time, killing it", t->process.pid);
            (void)keeper_end(k, t->process.pid);
        }
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct keeper *k = userdata;

    if (!k->patience_is_out) {
        k->patience_is_out = true;
        kill_released(k);
        timer_arm(k->patience, DEATH_USEC);
        return 0;
    }
    if (fleet_has(k, TRACER_KILLED))
        log_error("A killed tracer is still there, the kernel holds it; what it traces is let go "
                  "when it ends");
    if (k->exiting)
        (void)sd_event_exit(k->event, EXIT_SUCCESS);
    return 0;
}

static int on_grace(sd_event_source *source, uint64_t usec, void *userdata)
{
    log_notice("No broker has come back, releasing everything that is traced");
    release_tracers(userdata, false);
    return 0;
}

int release_init(struct keeper *k)
{
    int r = timer_new(k, on_grace, &k->grace);

    return r < 0 ? r : timer_new(k, on_patience, &k->patience);
}

void release_broker_came(struct keeper *k)
{
    timer_disarm(k->grace);
}

void release_broker_gone(struct keeper *k)
{
    struct tracer *t;

    connection_drop(k);
    LIST_FOREACH(t, &k->tracers, tracers)
        t->announced = false;
    if (k->exiting)
        return;
    if (k->mode == KEEPER_EMBEDDED)
        release_and_exit(k);
    else if (fleet_has(k, TRACER_TAKEN))
        timer_arm(k->grace, GRACE_USEC);
}

void release_check(struct keeper *k)
{
    if (k->exiting) {
        if (LIST_EMPTY(&k->tracers) && k->n_repairs == 0)
            (void)sd_event_exit(k->event, EXIT_SUCCESS);
        return;
    }
    if (!fleet_has(k, TRACER_RELEASED) && !fleet_has(k, TRACER_KILLED))
        timer_disarm(k->patience);
    if (!fleet_has(k, TRACER_TAKEN))
        timer_disarm(k->grace);
}

void release_and_exit(struct keeper *k)
{
    if (k->exiting)
        return;
    k->exiting = true;
    if (k->mode == KEEPER_SYSTEM)
        (void)sd_notify(false, "STOPPING=1");
    timer_disarm(k->grace);
    release_tracers(k, true);
    release_check(k);
}
