/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <systemd/sd-bus.h>

struct broker;
struct caller;

/* What is on its way to a caller.
 *
 * A bus takes at once what it is given, and holds what its recipient does not read. It tells nobody
 * how much that is; when it has enough it drops signals without a word, and takes no more from us,
 * whoever it is for. So the caller is asked to tell how far it has come:
 *
 *     broker                                     caller
 *       |--- ThreadEvent ... (a measure) --------->|
 *       |--- org.freedesktop.DBus.Peer.Ping ------>|
 *       |--- ThreadEvent ... (a measure) --------->|
 *       |    nothing more                          |
 *       |<------------------------ its answer -----|
 *       |--- Peer.Ping, ThreadEvent ... ---------->|
 *
 * D-Bus libraries answer a ping by themselves and in its turn, so the answer says that what was
 * sent before has been read, and two measures at the most are on their way. Any answer of the
 * caller's will do, an error too, and the one that the bus gives for a caller that has left. There
 * is no time-out: a client may compute for as long as it likes, and then finds its events where
 * they wait.
 *
 * A bus passes on an answer to any call that is under way, read or not, so the ping's cookie is not
 * the next one but a number that nobody guesses. A ping that the bus could not deliver, for what
 * its recipient holds up there, says nothing: the caller is asked again when it calls again.
 *
 * A measure counts for the caller, whose messages the bus keeps in one queue, over all its
 * sessions. The client of a socket is not pinged: what it does not read stays with us, where it is
 * counted (stream.h).
 *
 * Answers are on the same way. None is held back, but who has too many of them unread, by what its
 * pings say, is answered with an error, and who goes on then is not answered at all: as the bus
 * counts, it is us who have sent all that, and before it takes no more from us others shall be
 * served. */
struct flow_answers {
    size_t n_bytes;
    unsigned n_fds;
};

struct flow {
    unsigned n_events;           /* sent since the last ping */
    size_t n_bytes;              /* the same, of what makes an event large */
    struct flow_answers answers; /* sent since the last ping */
    struct flow_answers before;  /* before that, while it is under way */
    sd_bus_slot *ping;           /* under way */
    bool undelivered;            /* the last ping; since then the caller has not called */
};

/* An event has been sent to the caller, with that many bytes in arrays. */
void flow_sent(struct caller *c, size_t n_bytes);

/* The same of an answer, about. */
void flow_answered(struct caller *c, size_t n_bytes, unsigned n_fds);

/* 0 where an answer of so much may be sent; else Error.LimitExceeded. Root may be sent anything. */
int flow_check_answer(const struct caller *c, size_t n_bytes, unsigned n_fds, sd_bus_error *error);

/* Whether a user has been sent so many such errors that his programs are not answered any more. */
bool flow_is_hopeless(const struct caller *c);

/* Whether the caller has to answer before it may be sent another event. */
bool flow_is_full(const struct caller *c);

/* A caller, and a ping with it, has gone: another one may be due. */
void flow_go_on(struct broker *b);

/* Whether it could still be forgotten with one more answer. */
bool flow_stays_forgettable(const struct caller *c, size_t n_bytes);

/* Whether a caller that has nothing here may be forgotten with what it has not read. Where that is
 * too much it is asked how far it has come. */
bool flow_can_forget(struct caller *c);

/* Gives up the ping. */
void flow_done(struct flow *f);
