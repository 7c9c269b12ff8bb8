/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/flow.h"
#include "daemon/broker/session.h"

/* A measure. */
#define FLOW_EVENTS 512u
#define FLOW_BYTES (256u * 1024)

/* Pings under way: to one user's callers, to so many that each further one has to be its user's
 * first, and to all. The system bus lets no connection, and so not us, wait for more than 128
 * answers: neither one user nor many shall use them up, and polkit's are among them (polkit.c). */
struct ping_bounds {
    unsigned user, shared, all;
};
static const struct ping_bounds event_pings = {32, 64, 96};
/* Who does not read answers shall not keep others from events. */
static const struct ping_bounds answer_pings = {16, 32, 64};

/* What one user, all of them while each may have that much, and all of them may have unread. The
 * system bus holds back a sender of 64 descriptors or 127 MiB. */
#define ANSWER_BYTES_USER (16u * 1024 * 1024)
#define ANSWER_BYTES_SHARED (64u * 1024 * 1024)
#define ANSWER_BYTES (96u * 1024 * 1024)
#define ANSWER_FDS_USER 12u
#define ANSWER_FDS_SHARED 32u
#define ANSWER_FDS 48u
/* What each has for certain, while there is any left. */
#define ANSWER_BYTES_FIRST (1024u * 1024)
#define ANSWER_FDS_FIRST 2u
/* Errors that say so have some room of their own. */
#define HOPELESS_BYTES (ANSWER_BYTES_USER + 1024 * 1024)
/* A ping is sent for these long before. */
#define PINGED_FDS 4u

/* So little that it is forgotten with a caller that has nothing else here. */
#define FORGOTTEN_BYTES (16u * 1024)

static bool is_event_due(const struct flow *f)
{
    return f->n_events >= FLOW_EVENTS || f->n_bytes >= FLOW_BYTES;
}

static bool is_due(const struct flow *f)
{
    return is_event_due(f) || f->answers.n_bytes >= FLOW_BYTES || f->answers.n_fds >= PINGED_FDS;
}

static bool may_ping(const struct caller *c)
{
    const struct ping_bounds *max = is_event_due(&c->flow) ? &event_pings : &answer_pings;
    unsigned all = 0, own = 0;

    LIST_FOREACH(struct caller, other, &c->broker->callers, callers) {
        all += other->flow.ping != NULL;
        own += other->flow.ping && other->uid == c->uid;
    }
    return all < max->all && own < max->user && (all < max->shared || own == 0);
}

/* Without its policy the bus refuses pings itself, at once: then it holds what it likes. */
static void warn_refused(struct broker *b, sd_bus_message *answer)
{
    const char *sender = sd_bus_message_get_sender(answer);

    if (b->ping_refused || !sd_bus_message_is_method_error(answer, SD_BUS_ERROR_ACCESS_DENIED) ||
        !sender || strcmp(sender, "org.freedesktop.DBus") != 0)
        return;
    b->ping_refused = true;
    log_warning(
        &b->log,
        "The bus does not let us send org.freedesktop.DBus.Peer.Ping, so it may lose events "
        "of clients that read slowly; install the policy that comes with ptraced");
}

/* The bus answers for a caller that has left, and where its policy refuses all pings, which is the
 * administrator's to mend. Else it could not deliver this one. */
static bool is_undelivered(sd_bus_message *answer)
{
    const char *sender = sd_bus_message_get_sender(answer);

    return sd_bus_message_is_method_error(answer, NULL) && sender &&
           strcmp(sender, "org.freedesktop.DBus") == 0 &&
           !sd_bus_message_is_method_error(answer, SD_BUS_ERROR_ACCESS_DENIED) &&
           !sd_bus_message_is_method_error(answer, SD_BUS_ERROR_NO_REPLY) &&
           !sd_bus_message_is_method_error(answer, SD_BUS_ERROR_SERVICE_UNKNOWN) &&
           !sd_bus_message_is_method_error(answer, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
}

/* What was said to be on its way still is. */
static void take_back(struct flow *f)
{
    f->answers.n_bytes += f->before.n_bytes;
    f->answers.n_fds += f->before.n_fds;
    f->n_events = FLOW_EVENTS;
    f->undelivered = true;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct caller *c = userdata;

    warn_refused(c->broker, m);
    c->flow.ping = sd_bus_slot_unref(c->flow.ping);
    if (is_undelivered(m))
        take_back(&c->flow);
    c->flow.before = (struct flow_answers){0};
    flow_go_on(c->broker);
    return 1;
}

static int send_ping(struct caller *c)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    uint32_t cookie = 0;
    int r;

    r = sd_bus_message_new_method_call(c->broker->bus, &m, c->name, "/",
                                       "org.freedesktop.DBus.Peer", "Ping");
    while (r >= 0 && cookie == 0)
        r = getrandom(&cookie, sizeof(cookie), 0) < 0 ? -errno : 0;
    if (r >= 0)
        r = sd_bus_message_seal(m, cookie, UINT64_MAX);
    if (r < 0)
        return r;
    return sd_bus_call_async(c->broker->bus, &c->flow.ping, m, on_answer, c, UINT64_MAX);
}

/* What is due after this has to wait for an answer. Events go on where no ping can be sent: that is
 * for want of memory. */
static void ping(struct caller *c)
{
    struct flow *f = &c->flow;
    int r;

    if (f->ping || f->undelivered || !may_ping(c))
        return;
    r = send_ping(c);
    if (r < 0)
        log_debug(&c->broker->log, "Cannot ping %s, ignoring: %s", c->name, strerror(-r));
    f->n_events = 0;
    f->n_bytes = 0;
    if (r < 0)
        return;
    f->before = f->answers;
    f->answers = (struct flow_answers){0};
}

static void settle(struct caller *c)
{
    if (is_due(&c->flow))
        ping(c);
}

void flow_sent(struct caller *c, size_t n_bytes)
{
    if (c == c->broker->client)
        return;
    c->flow.n_events++;
    c->flow.n_bytes += n_bytes;
    settle(c);
}

void flow_answered(struct caller *c, size_t n_bytes, unsigned n_fds)
{
    c->flow.undelivered = false;
    if (!auth_is_unlimited(c)) { /* nor does what nobody forbids them count for others */
        c->flow.answers.n_bytes += n_bytes;
        c->flow.answers.n_fds += n_fds;
    }
    settle(c);
}

static struct flow_answers unread_of(const struct caller *c)
{
    const struct flow *f = &c->flow;

    return (struct flow_answers){.n_bytes = f->answers.n_bytes + f->before.n_bytes,
                                 .n_fds = f->answers.n_fds + f->before.n_fds};
}

static bool are_many(const struct flow_answers *all)
{
    return all->n_bytes > ANSWER_BYTES_SHARED || all->n_fds > ANSWER_FDS_SHARED;
}

/* What one user may have, where all together have that much. */
static struct flow_answers most_of_user(const struct flow_answers *all)
{
    if (are_many(all))
        return (struct flow_answers){.n_bytes = ANSWER_BYTES_FIRST, .n_fds = ANSWER_FDS_FIRST};
    return (struct flow_answers){.n_bytes = ANSWER_BYTES_USER, .n_fds = ANSWER_FDS_USER};
}

static bool has_room(const struct flow_answers *user, const struct flow_answers *all)
{
    const struct flow_answers most = most_of_user(all);

    return all->n_bytes <= ANSWER_BYTES && all->n_fds <= ANSWER_FDS &&
           user->n_bytes <= most.n_bytes && user->n_fds <= most.n_fds;
}

#define READ_FIRST "read some first, and answer the pings among them, as D-Bus libraries do"

static int refuse_of_user(const struct flow_answers *user, sd_bus_error *error)
{
    bool bytes = user->n_bytes > ANSWER_BYTES_USER;

    return sd_bus_error_setf(
        error, PTRACED_ERROR_LIMIT_EXCEEDED,
        "The limit %s is reached: no more than %u %s that one user has not read; " READ_FIRST,
        bytes ? "UnreadKiBMax" : "UnreadFDMax", bytes ? ANSWER_BYTES_USER / 1024 : ANSWER_FDS_USER,
        bytes ? "KiB of answers" : "descriptors in answers");
}

static int refuse_of_all(const struct flow_answers *all, sd_bus_error *error)
{
    bool bytes = all->n_bytes > ANSWER_BYTES || all->n_fds <= ANSWER_FDS_SHARED;

    return sd_bus_error_setf(
        error, PTRACED_ERROR_LIMIT_EXCEEDED,
        "The limit %s is reached: no more than %u %s that all users have not read, and beyond %u "
        "no more than %u KiB and %u descriptors of one; " READ_FIRST,
        bytes ? "AllUnreadKiBMax" : "AllUnreadFDMax", bytes ? ANSWER_BYTES / 1024 : ANSWER_FDS,
        bytes ? "KiB of answers" : "descriptors in answers",
        bytes ? ANSWER_BYTES_SHARED / 1024 : ANSWER_FDS_SHARED, ANSWER_BYTES_FIRST / 1024,
        ANSWER_FDS_FIRST);
}

int flow_check_answer(const struct caller *c, size_t n_bytes, unsigned n_fds, sd_bus_error *error)
{
    struct flow_answers user = {.n_bytes = n_bytes, .n_fds = n_fds}, all = user;

    if (auth_is_unlimited(c))
        return 0;
    LIST_FOREACH(struct caller, other, &c->broker->callers, callers) {
        const struct flow_answers unread = unread_of(other);

        all.n_bytes += unread.n_bytes;
        all.n_fds += unread.n_fds;
        if (other->uid != c->uid)
            continue;
        user.n_bytes += unread.n_bytes;
        user.n_fds += unread.n_fds;
    }
    if (has_room(&user, &all))
        return 0;
    return are_many(&all) ? refuse_of_all(&all, error) : refuse_of_user(&user, error);
}

bool flow_is_hopeless(const struct caller *c)
{
    size_t n_bytes = 0;

    if (auth_is_unlimited(c))
        return false;
    LIST_FOREACH(struct caller, other, &c->broker->callers, callers)
        if (other->uid == c->uid)
            n_bytes += unread_of(other).n_bytes;
    return n_bytes > HOPELESS_BYTES;
}

bool flow_is_full(const struct caller *c)
{
    return is_event_due(&c->flow);
}

void flow_go_on(struct broker *b)
{
    LIST_FOREACH(struct caller, c, &b->callers, callers) {
        bool was_full = is_event_due(&c->flow);

        if (is_due(&c->flow))
            settle(c);
        if (!was_full || is_event_due(&c->flow))
            continue;
        LIST_FOREACH(struct subscription, u, &c->subscriptions, of_caller)
            stream_go_on(&b->stream, u->session);
    }
}

bool flow_stays_forgettable(const struct caller *c, size_t n_bytes)
{
    return unread_of(c).n_bytes + n_bytes <= FORGOTTEN_BYTES;
}

bool flow_can_forget(struct caller *c)
{
    const struct flow_answers unread = unread_of(c);

    if (unread.n_bytes <= FORGOTTEN_BYTES && unread.n_fds == 0)
        return true;
    ping(c);
    return false;
}

void flow_done(struct flow *f)
{
    f->ping = sd_bus_slot_unref(f->ping);
}
