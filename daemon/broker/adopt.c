/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/adopt.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/events.h"
#include "daemon/broker/keeper-link.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

#define TIMER_ACCURACY_USEC 1000

static void adopt_settle(struct broker *b)
{
    if (b->n_adopting > 0 || b->serving)
        return;
    b->adopt_timer = sd_event_source_disable_unref(b->adopt_timer);
    broker_serve(b);
}

/* Its creator is watched again, and gets the events again; on_uid() of the caller closes the
 * session where it has left. */
static int find_creator(struct broker *b, const char *owner, struct caller **ret)
{
    if (*owner == '\0') {
        *ret = NULL;
        return 0;
    }
    return caller_get(b, owner, ret);
}

static int remake_session(struct broker *b, const struct session_settings *settings,
                          struct session **ret)
{
    struct caller *creator;
    struct session *s;
    int r;

    r = find_creator(b, settings->owner, &creator);
    if (r < 0)
        return r;
    r = session_new(b, settings, creator, &s);
    if (r < 0)
        return r;
    s->adopted = true;
    if (settings->number > b->last_session)
        b->last_session = settings->number;
    if (creator) {
        r = session_subscribe(s, creator, NULL);
        if (r < 0) {
            session_close(s, NULL);
            return r;
        }
    }
    *ret = s;
    return 0;
}

/* An owner comes with the bus that it was on (attach-open.c). */
static int read_owner(const struct broker *b, const char *text, char **ret, bool *ret_is_foreign)
{
    const char *at = strchr(text, '@');
    char ours[SD_ID128_STRING_MAX];
    sd_id128_t id;

    *ret_is_foreign = at && (sd_bus_get_bus_id(b->bus, &id) < 0 ||
                             strcmp(at + 1, sd_id128_to_string(id, ours)) != 0);
    *ret = *ret_is_foreign ? strdup("") : at ? strndup(text, (size_t)(at - text)) : strdup(text);
    return *ret ? 0 : -ENOMEM;
}

/* The strings are borrowed from the message. */
static int read_settings(sd_bus_message *m, struct session_settings *ret)
{
    const char *id, *name, *owner, *lifetime;
    uint64_t number;
    uint32_t uid;
    int r, queue;

    r = sd_bus_message_read(m, "susssb", &id, &uid, &name, &owner, &lifetime, &queue);
    if (r < 0)
        return r;
    if (!session_number(id, &number))
        return -EBADMSG;
    *ret = (struct session_settings){
        .number = number,
        .uid = (uid_t)uid,
        .name = name,
        .owner = owner,
        .holder = owner,
        .persistent = strcmp(lifetime, PTRACED_LIFETIME_PERSISTENT) == 0,
        .queue = queue,
    };
    return 0;
}

static int adopt_processes(struct session *s, struct tracer *t, sd_bus_message *m)
{
    uint32_t pid, n_threads, uid;
    const char *executable;
    int r, observe, plain;
    uint64_t since;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, PTRACED_DESCRIBED_SIGNATURE);
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, PTRACED_DESCRIBED_SIGNATURE, &pid, &n_threads, &observe,
                                    &plain, &uid, &since, &executable)) > 0) {
        struct attachment *a;

        r = attachment_add(s, t, (pid_t)pid);
        if (r < 0)
            return r;
        a = attachment_find(s, (pid_t)pid, t);
        a->observe = observe;
        a->plain = plain;
        a->since_usec = since;
        r = attachment_set_executable(a, executable);
        if (r >= 0 && s->creator) /* it alone has attached here */
            r = clearance_give(s->creator, a, ATTACH_NOTHING, observe);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* One session, as one of its tracers describes it. */
static int adopt_session(struct tracer *t, sd_bus_message *m)
{
    _cleanup_free_string_ char *owner = NULL;
    struct session_settings settings;
    struct share *share;
    struct session *s;
    bool is_foreign;
    int r;

    r = read_settings(m, &settings);
    if (r >= 0)
        r = read_owner(t->broker, settings.owner, &owner, &is_foreign);
    if (r < 0)
        return r;
    settings.owner = settings.holder = owner;
    s = index_find(&t->broker->sessions, settings.number);
    if (!s) {
        r = remake_session(t->broker, &settings, &s);
        if (r < 0)
            return r;
    }
    r = share_get(s, t, &share);
    if (r < 0)
        return r;
    share->open = true;
    /* What the last broker asked for still holds there, so it is told either way. */
    share->streaming = s->n_subscriptions == 0;
    share_update_stream(share);
    r = adopt_processes(s, t, m);
    if (is_foreign) /* who has that name now is somebody else */
        session_close(s, NULL);
    return r;
}

static int adopt_sessions(struct tracer *t, sd_bus_message *m)
{
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY,
                                       "(susssba" PTRACED_DESCRIBED_SIGNATURE ")");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_STRUCT,
                                               "susssba" PTRACED_DESCRIBED_SIGNATURE)) > 0) {
        t->used = true;
        r = adopt_session(t, m);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r;
}

static void on_described(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct tracer *t = userdata;
    struct broker *b = t->broker;
    int r;

    r = reply ? adopt_sessions(t, reply) : -sd_bus_error_get_errno(error);
    if (r < 0)
        log_warning(&b->log, "Tracer %d cannot be taken over in full: %s", t->pid, strerror(-r));
    b->n_adopting--;
    adopt_settle(b);
}

static int adopt_tracer(struct broker *b, pid_t pid, int received_fd)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct tracer *t = tracer_find(b, pid);
    int r, fd;

    /* Of an earlier list that was not completed; the new socket has made its own void. */
    if (t)
        tracer_free(t);
    fd = fcntl(received_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    r = tracer_new(b, pid, fd, &t);
    if (r < 0)
        return r;
    r = tracer_new_call(t, "Describe", &m);
    if (r >= 0)
        r = tracer_call(t, m, WIRE_NO_TIMEOUT, 0, on_described, t);
    if (r < 0) {
        tracer_free(t);
        return r;
    }
    b->n_adopting++;
    return 0;
}

/* Returns how many there were. */
static int adopt_tracers(struct broker *b, sd_bus_message *m)
{
    uint32_t pid;
    int r, fd, n = 0;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "(uh)");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "(uh)", &pid, &fd)) > 0) {
        n++;
        r = adopt_tracer(b, (pid_t)pid, fd);
        if (r < 0)
            log_warning(&b->log, "Tracer %u cannot be taken over: %s", pid, strerror(-r));
    }
    return r < 0 ? r : n;
}

static int ask_for_tracers(struct broker *b);

/* Of which version the keeper is, the name of the interface says. */
static bool is_unknown(const sd_bus_error *error)
{
    return sd_bus_error_has_names(error, SD_BUS_ERROR_UNKNOWN_METHOD,
                                  SD_BUS_ERROR_UNKNOWN_INTERFACE, SD_BUS_ERROR_UNKNOWN_OBJECT);
}

static void on_listed(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct broker *b = userdata;
    int r;

    b->listing = false;
    if (error && is_unknown(error)) {
        keeper_link_retire(&b->keeper);
        b->n_adopting--;
        adopt_settle(b);
        return;
    }
    r = reply ? adopt_tracers(b, reply) : -sd_bus_error_get_errno(error);
    b->listed = r == 0;
    if (r > 0) /* as many as a message can hold */
        r = ask_for_tracers(b);
    if (r < 0)
        log_warning(&b->log,
                    "The keeper does not list its tracers, asking again when it is needed: %s",
                    strerror(-r));
    b->n_adopting--;
    adopt_settle(b);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct broker *b = userdata;

    log_warning(&b->log, "Not all tracers of before have answered; going on without them for now");
    b->adopt_timer = sd_event_source_disable_unref(b->adopt_timer);
    broker_serve(b);
    return 0;
}

/* However late the answer comes: what it brings is given to nobody else. */
static int send_list(struct broker *b)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    r = keeper_link_new_call(&b->keeper, "ListTracers", &m, NULL);
    if (r < 0)
        return r;
    return wire_call(&b->keeper.wire, m, WIRE_NO_TIMEOUT, 0, on_listed, b);
}

static int ask_for_tracers(struct broker *b)
{
    int r;

    b->listing = true; /* the call is one of those before which we are asked to */
    r = send_list(b);
    if (r < 0) {
        b->listing = false;
        return r;
    }
    b->n_adopting++;
    return 0;
}

void adopt_missed(struct broker *b)
{
    int r;

    if (b->listed || b->listing || b->mode == BROKER_EMBEDDED)
        return;
    r = ask_for_tracers(b);
    if (r < 0)
        log_warning(&b->log, "Cannot ask the keeper for its tracers: %s", strerror(-r));
}

int adopt_start(struct broker *b)
{
    int r;

    r = ask_for_tracers(b);
    if (r < 0) { /* no keeper yet; when there is one it is asked */
        broker_serve(b);
        return 0;
    }
    return sd_event_add_time_relative(b->event, &b->adopt_timer, CLOCK_MONOTONIC,
                                      b->tracer_timeout_usec, TIMER_ACCURACY_USEC, on_timer, b);
}
