/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include <systemd/sd-daemon.h>

#include "bus-api/names.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/idle.h"
#include "daemon/broker/limits.h"

#define ACCURACY_USEC 1000000

static bool is_idle(const struct broker *b)
{
    uint64_t unsent = 0;

    return b->serving && b->n_adopting == 0 && b->sessions.n == 0 && b->tracees.n == 0 &&
           list_empty(&b->tracers) && list_empty(&b->attaches) && list_empty(&b->gathers) &&
           callers_are_idle(b) && !limits_are_changed() && kept_is_empty(&b->kept) &&
           sd_bus_get_n_queued_write(b->bus, &unsent) >= 0 && unsent == 0;
}

static int on_released(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct broker *b = userdata;

    b->idle.released = true; /* what follows is on_turn()'s */
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct broker *b = userdata;
    int r;

    if (!is_idle(b)) /* the next turn of the loop sets it again */
        return 0;
    b->idle.leaving = true;
    sd_notify(false, "STOPPING=1");
    r = sd_bus_release_name_async(b->bus, NULL, PTRACED_BUS_NAME, on_released, b);
    return r < 0 ? sd_event_exit(b->event, 0) : 0;
}

/* After each turn in which there was anything to do. */
static int on_turn(sd_event_source *source, void *userdata)
{
    struct broker *b = userdata;
    int r;

    if (b->idle.leaving)
        return b->idle.released && is_idle(b) ? sd_event_exit(b->event, 0) : 0;
    if (!is_idle(b))
        return sd_event_source_set_enabled(b->idle.timer, SD_EVENT_OFF);
    r = sd_event_source_set_time_relative(b->idle.timer, b->idle.usec);
    return r < 0 ? r : sd_event_source_set_enabled(b->idle.timer, SD_EVENT_ONESHOT);
}

int idle_start(struct broker *b)
{
    int r;

    if (b->idle.usec == 0)
        return 0;
    r = sd_event_add_time_relative(b->event, &b->idle.timer, CLOCK_MONOTONIC, b->idle.usec,
                                   ACCURACY_USEC, on_timer, b);
    return r < 0 ? r : sd_event_add_post(b->event, &b->idle.post, on_turn, b);
}

void idle_done(struct broker *b)
{
    sd_event_source_disable_unref(b->idle.post);
    sd_event_source_disable_unref(b->idle.timer);
}
