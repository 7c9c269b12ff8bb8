/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/paths.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/events.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/measure.h"
#include "daemon/broker/session.h"

#define DBUS_NAME "org.freedesktop.DBus"
#define DBUS_PATH "/org/freedesktop/DBus"

struct unchecked {
    struct list calls;
    sd_bus_message *message;
};

static void unchecked_free(struct unchecked *u)
{
    list_remove(&u->calls);
    sd_bus_message_unref(u->message);
    free(u);
}

static struct caller *caller_free(struct caller *c)
{
    struct unchecked *u;

    if (!c)
        return NULL;
    while ((u = LIST_FIRST(&c->unchecked, struct unchecked, calls)))
        unchecked_free(u);
    permit_cancel(c);
    while (!list_empty(&c->clearances))
        clearance_free(LIST_FIRST(&c->clearances, struct clearance, of_caller));
    if (c->callers.next)
        list_remove(&c->callers);
    sd_bus_slot_unref(c->watch);
    sd_bus_slot_unref(c->query);
    flow_done(&c->flow);
    if (c->pidfd >= 0)
        close(c->pidfd);
    free(c->groups);
    free(c->name);
    free(c);
    return NULL;
}

static void caller_freep(struct caller **c)
{
    caller_free(*c);
}

/* What it has here, or waits for. */
static bool has_something(const struct caller *c)
{
    return !list_empty(&c->sessions) || !list_empty(&c->subscriptions) || c->flow.ping ||
           !list_empty(&c->clearances) || !list_empty(&c->waiters) || !list_empty(&c->attaches) ||
           !list_empty(&c->permit_waits);
}

static bool is_needed(const struct caller *c)
{
    return !c->known || c->n_unchecked > 0 || has_something(c);
}

/* It has left: its sessions end, and what it waited for is not taken from anybody else. */
static void caller_gone(struct caller *c)
{
    struct broker *b = c->broker;

    while (!list_empty(&c->attaches))
        attach_abandon(LIST_FIRST(&c->attaches, struct attach, of_caller));
    while (!list_empty(&c->waiters))
        waiter_free(LIST_FIRST(&c->waiters, struct waiter, of_caller));
    while (!list_empty(&c->subscriptions))
        subscription_free(LIST_FIRST(&c->subscriptions, struct subscription, of_caller));
    while (!list_empty(&c->sessions))
        session_close(LIST_FIRST(&c->sessions, struct session, of_creator), NULL);
    caller_free(c);
    flow_go_on(b);
}

/* Puts the oldest call back. The others follow one by one, each when the one before it has come
 * along, so that none overtakes another. */
static void replay_next(struct caller *c)
{
    struct unchecked *u;

    while ((u = LIST_FIRST(&c->unchecked, struct unchecked, calls))) {
        int r = sd_bus_enqueue_for_read(c->broker->bus, u->message);

        if (r >= 0)
            return;
        sd_bus_reply_method_errno(u->message, r, NULL);
        c->n_unchecked--;
        unchecked_free(u);
    }
}

/* The bus does not say who it is, which need not mean that it has left. */
static void refuse_unchecked(const struct caller *c, const sd_bus_error *why)
{
    LIST_FOREACH(struct unchecked, u, &c->unchecked, calls)
        sd_bus_reply_method_errorf(u->message, SD_BUS_ERROR_ACCESS_DENIED,
                                   "The bus does not tell whose the connection %s is: %s", c->name,
                                   why && why->message ? why->message : "no answer");
}

int caller_check_user(const struct caller *c, sd_bus_error *error)
{
    size_t n = 0;

    if (c->uid == 0 || c->broker->client || has_something(c))
        return 0;
    LIST_FOREACH(struct caller, other, &c->broker->callers, callers)
        if (other != c && other->known && other->uid == c->uid && has_something(other))
            n++;
    return limit_check(LIMIT_USER_CALLERS, n, error);
}

/* Who leaves answers unread has to be remembered too: that is none of others' places. */
static bool is_one_too_many(const struct caller *c)
{
    size_t n = 0;

    if (c->uid == 0)
        return false;
    LIST_FOREACH(struct caller, other, &c->broker->callers, callers)
        n += other != c && other->known && other->uid == c->uid &&
             (is_needed(other) || !flow_can_forget(other));
    return n >= 2 * (size_t)limit_value(LIMIT_USER_CALLERS);
}

/* ---- Places --------------------------------------------------------------------------------- */

/* Of who may do everything so many are not counted: whatever others have, or whatever he has set,
 * he can still list and set limits. Together with the most that CallersMax can be they are less
 * than what the system bus lets us watch. */
#define OWN_PLACES 32u

/* Where all places are taken the bus is asked about so many at a time, of whom that little is put
 * by. The system bus lets a user have 256 connections, and these are more. */
#define BEYOND_MAX 512u
#define BEYOND_CALLS 4u

/* What those are answered who find no place is not counted for anybody: there is an end to it,
 * until some of the others have left. */
#define STRANGERS_ANSWERED 1024u

struct places {
    size_t own, others, beyond;
};

static struct places count_places(const struct broker *b)
{
    struct places n = {0};

    LIST_FOREACH(struct caller, c, &b->callers, callers) {
        if (c->beyond)
            n.beyond++;
        else if (auth_is_unlimited(c))
            n.own++;
        else
            n.others++;
    }
    return n;
}

/* Drops the one that has called least lately of those that we know for speed alone. */
static void evict(struct broker *b, bool unlimited)
{
    struct caller *oldest = NULL;

    LIST_FOREACH(struct caller, c, &b->callers, callers)
        if (auth_is_unlimited(c) == unlimited && !is_needed(c) && flow_can_forget(c))
            oldest = c;
    caller_free(oldest);
}

static bool is_full(const struct broker *b)
{
    const struct places n = count_places(b);
    size_t more = n.own > OWN_PLACES ? n.own - OWN_PLACES : 0;

    return n.others + more >= limit_value(LIMIT_CALLERS);
}

static bool find_place(struct broker *b)
{
    if (is_full(b))
        evict(b, false);
    if (is_full(b) && count_places(b).own > OWN_PLACES)
        evict(b, true);
    return !is_full(b);
}

static bool find_own_place(struct broker *b)
{
    if (count_places(b).own >= OWN_PLACES)
        evict(b, true);
    return count_places(b).own < OWN_PLACES || find_place(b);
}

/* An error; 1: it is not answered. */
static int refuse_stranger(struct broker *b, sd_bus_error *error)
{
    if (b->n_strangers >= STRANGERS_ANSWERED)
        return 1;
    b->n_strangers++;
    return limit_check(LIMIT_CALLERS, SIZE_MAX, error);
}

static void turn_away(struct caller *c)
{
    LIST_FOREACH(struct unchecked, u, &c->unchecked, calls) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = refuse_stranger(c->broker, &error);

        audit_failed(c, u->message, r, &error);
        if (r < 0)
            sd_bus_reply_method_error(u->message, &error);
    }
    caller_gone(c);
}

static int caller_ask(struct caller *c);

/* It is asked about once more, for only now it is watched. */
static void take_in(struct caller *c)
{
    bool found = auth_is_unlimited(c) ? find_own_place(c->broker) : find_place(c->broker);

    c->beyond = false;
    if (!found)
        turn_away(c);
    else if (caller_ask(c) < 0) {
        refuse_unchecked(c, NULL);
        caller_gone(c);
    }
}

static int on_credentials(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct caller *c = userdata;

    c->query = sd_bus_slot_unref(c->query);
    if (sd_bus_message_is_method_error(m, NULL) || caller_read_credentials(c, m) < 0) {
        refuse_unchecked(c, sd_bus_message_get_error(m));
        caller_gone(c);
        return 1;
    }
    if (c->beyond) {
        take_in(c);
        return 1;
    }
    c->refused = list_empty(&c->sessions) && is_one_too_many(c);
    c->known = true;
    /* One that a broker before us has left to us may be of a name that another bus had given. */
    LIST_FOREACH(struct session, s, &c->sessions, of_creator)
        if (s->uid != c->uid)
            session_close(s, NULL);
    LIST_FOREACH(struct subscription, u, &c->subscriptions, of_caller)
        stream_go_on(&c->broker->stream, u->session);
    replay_next(c);
    return 1;
}

/* To sd-bus a match for a well-known name is met by any unique one, and who is not kept from it by
 * the bus's policy can send us a signal of any interface. */
static int on_name_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    const char *name, *old_owner, *new_owner, *sender = sd_bus_message_get_sender(m);

    if (!sender || strcmp(sender, DBUS_NAME) != 0)
        return 0;
    if (sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) >= 0 && *new_owner == '\0')
        caller_gone(userdata);
    return 0;
}

static int on_watched(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct caller *c = userdata;

    if (!sd_bus_message_is_method_error(m, NULL))
        return 1;
    /* Without it we would never learn that the caller has left. */
    log_warning(&c->broker->log, "The bus refuses to watch %s, not serving it: %s", c->name,
                sd_bus_message_get_error(m)->message);
    refuse_unchecked(c, sd_bus_message_get_error(m));
    caller_gone(c);
    return 1;
}

static int ask_credentials(struct caller *c)
{
    return sd_bus_call_method_async(c->broker->bus, &c->query, DBUS_NAME, DBUS_PATH, DBUS_NAME,
                                    "GetConnectionCredentials", on_credentials, c, "s", c->name);
}

/* Watch first, then ask: one that leaves in between is noticed by either. */
static int caller_ask(struct caller *c)
{
    char match[512];
    int r;

    snprintf(match, sizeof(match),
             "type='signal',sender='" DBUS_NAME "',path='" DBUS_PATH "',interface='" DBUS_NAME
             "',member='NameOwnerChanged',arg0='%s'",
             c->name);
    r = sd_bus_add_match_async(c->broker->bus, &c->watch, match, on_name_owner_changed, on_watched,
                               c);
    return r < 0 ? r : ask_credentials(c);
}

static int caller_new(struct broker *b, const char *name, struct caller **ret)
{
    struct caller *c;

    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->broker = b;
    c->uid = (uid_t)-1; /* until it is known */
    c->pidfd = -1;
    list_init(&c->unchecked);
    list_init(&c->sessions);
    list_init(&c->subscriptions);
    list_init(&c->waiters);
    list_init(&c->attaches);
    list_init(&c->clearances);
    list_init(&c->permit_waits);
    c->name = strdup(name);
    if (!c->name) {
        caller_free(c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

static struct caller *caller_find(struct broker *b, const char *name)
{
    LIST_FOREACH(struct caller, c, &b->callers, callers)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static int caller_add(struct broker *b, const char *name, bool beyond, struct caller **ret)
{
    _cleanup_(caller_freep) struct caller *c = NULL;
    int r;

    r = caller_new(b, name, &c);
    if (r < 0)
        return r;
    r = beyond ? ask_credentials(c) : caller_ask(c);
    if (r < 0)
        return r;
    c->beyond = beyond;
    list_prepend(&b->callers, &c->callers);
    *ret = TAKE_PTR(c);
    return 0;
}

int caller_get(struct broker *b, const char *name, struct caller **ret)
{
    *ret = caller_find(b, name);
    return *ret ? 0 : caller_add(b, name, false, ret);
}

static int put_by(struct caller *c, sd_bus_message *m, sd_bus_error *error)
{
    struct unchecked *u;
    int r;

    r = limit_check(LIMIT_UNCHECKED, c->n_unchecked, error);
    if (r < 0)
        return r;
    u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->message = sd_bus_message_ref(m);
    list_append(&c->unchecked, &u->calls);
    c->n_unchecked++;
    return 1;
}

/* About what an answer holds that is not measured; what one holds that is comes on top. */
#define ANSWER_BYTES 512u

/* Errors are answers too, so there is an end to those as well. */
static int charge(struct caller *c, sd_bus_message *m, sd_bus_error *error)
{
    int r;

    c->refused = c->refused && is_one_too_many(c);
    if (flow_is_hopeless(c) || (c->refused && !flow_stays_forgettable(c, ANSWER_BYTES))) {
        audit_call_refused(c, m, "it is not answered any more");
        return 1;
    }
    r = flow_check_answer(c, 0, 0, error);
    flow_answered(c, ANSWER_BYTES, 0);
    if (r < 0 || !c->refused)
        return r;
    return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                             "The limit UserCallersMax is reached twice over: %u programs of user "
                             "%u use the service, or do not read what it answers; end some of them "
                             "first",
                             2 * limit_value(LIMIT_USER_CALLERS), c->uid);
}

/* A path that is longer than any of ours would be in the error as well. While it is not known whose
 * the call is, everybody on the system bus has limits: who connects anew for each would have none
 * otherwise. */
static int check_call(const struct caller *c, sd_bus_message *m, sd_bus_error *error)
{
    bool unlimited = c->known ? auth_is_unlimited(c) : c->broker->mode != BROKER_SYSTEM;
    struct measure size;

    if (strlen(sd_bus_message_get_path(m)) >= PTRACED_PATH_MAX)
        return sd_bus_error_set(error, SD_BUS_ERROR_UNKNOWN_OBJECT,
                                "There is no object with a path that long");
    return measure_check(m, measure_limit_of(m, unlimited), &size, error);
}

/* 0; 1: it is not answered; or an error. */
static int meet(struct broker *b, const char *sender, struct caller **ret, sd_bus_error *error)
{
    if (find_place(b)) {
        b->n_strangers = 0;
        return caller_add(b, sender, false, ret);
    }
    if (count_places(b).beyond < BEYOND_MAX)
        return caller_add(b, sender, true, ret);
    return refuse_stranger(b, error);
}

static bool is_little(const struct caller *c, sd_bus_message *m)
{
    struct measure size;

    return c->n_unchecked < BEYOND_CALLS && strlen(sd_bus_message_get_path(m)) < PTRACED_PATH_MAX &&
           measure_body(m, PERMIT_BYTES_MAX, &size) >= 0 && size.n_fds == 0;
}

/* Whether it is the one that had been put by, which it is no more. */
static bool is_its_turn(struct caller *c, const sd_bus_message *m)
{
    struct unchecked *next = LIST_FIRST(&c->unchecked, struct unchecked, calls);

    if (!next || next->message != m)
        return false;
    c->n_unchecked--;
    unchecked_free(next);
    replay_next(c);
    return true;
}

static int admit(struct broker *b, struct caller *c, sd_bus_message *m, sd_bus_error *ret_error)
{
    bool its_turn;
    int r;

    if (c->beyond && !is_little(c, m))
        return refuse_stranger(b, ret_error);
    its_turn = is_its_turn(c, m);
    r = check_call(c, m, ret_error);
    if (r < 0)
        return charge(c, m, NULL) == 1 ? 1 : r;

    if (!its_turn && (!c->known || !list_empty(&c->unchecked))) {
        r = put_by(c, m, ret_error);
        return r < 0 && charge(c, m, NULL) == 1 ? 1 : r;
    }
    list_remove(&c->callers);
    list_prepend(&b->callers, &c->callers);
    r = permit_has_come_back(c, m) ? 0 : charge(c, m, ret_error);
    return r != 0 ? r : permit_first(c, m, ret_error);
}

/* Sees every message before the objects do. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct broker *b = userdata;
    const char *sender = sd_bus_message_get_sender(m);
    struct caller *c;
    int r;

    if (!sd_bus_message_is_method_call(m, NULL, NULL) ||
        sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Peer", NULL))
        return 0;
    if (!sender) /* no bus lets that through */
        return 1;
    c = caller_find(b, sender);
    if (!c) {
        const struct caller stranger = {.broker = b, .uid = (uid_t)-1, .name = strdupa(sender)};

        r = audit_failed(&stranger, m, meet(b, sender, &c, ret_error), ret_error);
        if (r != 0)
            return r;
    }
    return audit_failed(c, m, admit(b, c, m, ret_error), ret_error);
}

int callers_start(struct broker *b)
{
    int r;

    if (b->mode != BROKER_EMBEDDED)
        return sd_bus_add_filter(b->bus, NULL, on_message, b);

    r = caller_new(b, "", &b->client);
    if (r < 0)
        return r;
    b->client->uid = geteuid();
    b->client->known = true;
    list_prepend(&b->callers, &b->client->callers);
    return 0;
}

bool callers_are_idle(const struct broker *b)
{
    LIST_FOREACH(struct caller, c, &b->callers, callers)
        if (is_needed(c))
            return false;
    return true;
}

void callers_done(struct broker *b)
{
    while (!list_empty(&b->callers))
        caller_free(LIST_FIRST(&b->callers, struct caller, callers));
    b->client = NULL;
}

struct caller *caller_of(struct broker *b, sd_bus_message *m)
{
    return b->client ? b->client : caller_find(b, sd_bus_message_get_sender(m));
}

int caller_answer(struct broker *b, sd_bus_message *call, sd_bus_message *answer)
{
    struct caller *c = caller_of(b, call); /* NULL: it has left */
    struct measure size;
    int r = sd_bus_message_send(answer);

    if (r >= 0 && c && measure_body(answer, SIZE_MAX, &size) >= 0)
        flow_answered(c, size.n_bytes, size.n_fds);
    return r;
}
