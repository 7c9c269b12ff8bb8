/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/keeper/connection.h"
#include "daemon/keeper/keeper.h"
#include "daemon/keeper/log.h"

static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
    release_and_exit(userdata);
    return 0;
}

int keeper_new(enum keeper_mode mode, struct keeper **ret)
{
    __attribute__((cleanup(keeper_freep))) struct keeper *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    k->mode = mode;
    k->broker = PIDREF_NULL;
    k->broker_uid = KEEPER_NO_UID;
    k->bus_fd = k->listen_fd = k->quota_fd = k->program_fd = -1;
    LIST_INIT(&k->tracers);

    r = sd_event_new(&k->event);
    if (r >= 0)
        r = sd_event_add_signal(k->event, NULL, SIGTERM, on_terminate, k);
    if (r >= 0)
        r = sd_event_add_signal(k->event, NULL, SIGINT, on_terminate, k);
    if (r >= 0)
        r = release_init(k);
    if (r < 0)
        return r;
    *ret = k;
    k = NULL;
    return 0;
}

struct keeper *keeper_free(struct keeper *k)
{
    struct tracer *t;

    if (!k)
        return NULL;
    connection_close(k);
    while ((t = LIST_FIRST(&k->tracers))) {
        LIST_REMOVE(t, tracers);
        tracer_free(t);
    }
    sd_event_source_disable_unref(k->restock);
    sd_event_source_disable_unref(k->grace);
    sd_event_source_disable_unref(k->patience);
    sd_event_unref(k->event);
    quota_unmap(k->quota);
    if (k->quota_fd >= 0)
        close(k->quota_fd);
    if (k->program_fd >= 0)
        close(k->program_fd);
    free(k);
    return NULL;
}

void keeper_freep(struct keeper **k)
{
    keeper_free(*k);
}

/* One whose control socket is closed already is about to end: then another one. */
static int adopt_ready(struct keeper *k, int *ret_fd)
{
    int r = -EPIPE;

    for (unsigned tries = 0; tries < 2 && (r == -EPIPE || r == -ECONNRESET); tries++) {
        r = fleet_ensure_ready(k);
        if (r < 0)
            return r;
        r = tracer_adopt(k->ready, ret_fd);
        if (r == -EPIPE || r == -ECONNRESET)
            k->ready = NULL;
    }
    return r;
}

static unsigned count_of(const struct keeper *k, uid_t user)
{
    const struct tracer *t;
    unsigned n = 0;

    LIST_FOREACH(t, &k->tracers, tracers)
        n += t->state != TRACER_READY && t->user == user;
    return n;
}

int keeper_take(struct keeper *k, uid_t user, unsigned max, pid_t *ret_pid, int *ret_fd)
{
    struct tracer *t;
    int r, fd;

    if (k->exiting)
        return -ESHUTDOWN;
    if (max > 0 && count_of(k, user) >= max)
        return -EUSERS;
    r = adopt_ready(k, &fd);
    if (r < 0)
        return r;

    t = k->ready;
    t->state = TRACER_TAKEN;
    t->user = user;
    t->announced = true;
    fleet_taken(k);
    *ret_pid = t->process.pid;
    *ret_fd = fd;
    return 0;
}

int keeper_announce_next(struct keeper *k, pid_t *ret_pid, int *ret_fd)
{
    struct tracer *t;

    LIST_FOREACH(t, &k->tracers, tracers) {
        int r;

        if (t->state != TRACER_TAKEN || t->announced || t->dying)
            continue;
        r = tracer_adopt(t, ret_fd);
        if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
            return r;
        t->announced = true;
        if (r >= 0) {
            *ret_pid = t->process.pid;
            return 1;
        }
        log_warning("Tracer %d does not take a new broker, leaving it out: %s", t->process.pid,
                    strerror(-r));
    }
    return 0;
}

void keeper_unannounce(struct keeper *k, pid_t pid)
{
    struct tracer *t = tracer_find(&k->tracers, pid);

    if (t)
        t->announced = false;
}

int keeper_end(struct keeper *k, pid_t pid)
{
    struct tracer *t = tracer_find(&k->tracers, pid);
    int r;

    if (!t)
        return -ESRCH;
    r = tracer_kill(t);
    if (r < 0)
        return r;
    t->state = TRACER_KILLED;
    if (t == k->ready) {
        k->ready = NULL;
        fleet_restock(k);
    }
    return 0;
}

bool keeper_owns(const struct keeper *k, const struct inspection *i)
{
    const pid_t self = getpid();

    if (i->pid == self || i->parent == self) /* tracers and repairs */
        return true;
    if (tracer_find(&k->tracers, i->parent)) /* a tracer's doorbell */
        return true;
    return i->pid == k->broker.pid && pidref_exists(&k->broker);
}
