/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "bus-api/event.h"
#include "bus-api/macro.h"
#include "bus-api/paths.h"
#include "client/lib/ptraced/ptraced.h"

/* What the files of libptraced share. Everything not marked _public_ stays inside the library. */

#define _public_ __attribute__((visibility("default")))
#define _printf_(format, first) __attribute__((__format__(__printf__, format, first)))

#define USEC_INFINITY UINT64_MAX
#define USEC_PER_SEC ((uint64_t)1000000)

/* ptraced_process() reads no further while a session has that many events that nobody took. */
#define EVENTS_WAITING_MAX 4096u

/* A keeper without a broker releases everything after five seconds, so a service that has been gone
 * for longer has no session of ours any more, whatever comes back. */
#define SERVICE_ABSENT_USEC (10 * USEC_PER_SEC)

struct ptraced_event {
    unsigned n_ref;
    ptraced_event *next; /* in the list of its session */
    uint64_t serial;
    uint64_t usec;
    pid_t pid;
    pid_t tid;
    enum ptraced_event_kind kind;
    bool stopped;
    char kind_name[sizeof(((struct ptraced_event_record *)NULL)->kind)];
    unsigned n_details;
    struct ptraced_detail details[]; /* strings are owned */
};

/* The program that ptraced_spawn() is starting, from its attach to its exec. */
struct starting {
    pid_t pid;           /* 0: none is being started */
    bool executed;       /* its exec event has come */
    bool privileged;     /* or the exec took it out of the session, by the privilege that it gave */
    bool ended;          /* or it died or was lost before that */
    bool abandoned;      /* no event of it is for the caller any more */
    bool over;           /* its last event has come */
    pid_t stopped_tid;   /* held by an event before the exec, which nobody else will continue */
    ptraced_event *exec; /* in the session's list; NULL where the session is not subscribed */
};

struct ptraced {
    unsigned n_ref;
    pid_t origin; /* the process that opened it */
    enum ptraced_transport transport;
    sd_bus *bus;
    bool on_bus;  /* a bus lies between, as opposed to a socket to the service itself */
    bool is_lost; /* the connection has ended */
    bool interactive; /* who attaches may be asked for permission in a dialog */
    pid_t keeper; /* embedded mode: who starts the tracers */

    char *owner;           /* on a bus: the unique name of the service; NULL when not known */
    uint64_t absent_until; /* when to give up on a service that left; USEC_INFINITY: it is there */

    ptraced_session *sessions; /* every session object; they hold the references */

    char *version;
    char *error_name;
    char *error_message;
};

struct ptraced_session {
    unsigned n_ref;
    ptraced *connection;
    ptraced_session *next;
    ptraced_session *previous;
    char id[PTRACED_SESSION_ID_MAX + 1];
    bool is_subscribed;
    bool has_ended;
    sd_bus_slot *resubscribe; /* the call that is under way after the service came back */

    ptraced_event *first;
    ptraced_event *last;
    unsigned n_events;
    uint64_t n_dropped; /* arrived, but could not be kept */

    struct starting starting;
};

/* ---- call.c: requests and their failures. Each returns what it was given or a negative errno,
 *      after having kept name and message for ptraced_get_error(). ---- */

int connection_fail(ptraced *p, int error, const char *format, ...) _printf_(3, 4);
int connection_fail_bus(ptraced *p, const sd_bus_error *error);

/* -ECHILD in a process that was forked off the one that opened the connection. */
int connection_check(ptraced *p);

int connection_new_call(ptraced *p, const char *path, const char *interface, const char *member,
                        sd_bus_message **ret);
/* Sends and waits for the answer. Takes over no reference. ret_reply may be NULL. */
int connection_send(ptraced *p, sd_bus_message *m, sd_bus_message **ret_reply);
/* The same for what the user may be asked about first, which takes as long as it takes. */
int connection_send_asking(ptraced *p, sd_bus_message *m, sd_bus_message **ret_reply);
int connection_call(ptraced *p, const char *path, const char *interface, const char *member,
                    sd_bus_message **ret_reply, const char *types, ...);
/* The message stands inside the variant's value when this returns. */
int connection_get_property(ptraced *p, const char *path, const char *interface, const char *name,
                            const char *type, sd_bus_message **ret_reply);

/* ---- connection.c ---- */

/* Takes over the bus connection on success. */
int connection_new(sd_bus *bus, enum ptraced_transport transport, bool on_bus, ptraced **ret);
/* A connection to the service at the other end of a stream socket; takes over the descriptor, on
 * failure too. */
int connection_new_fd(int fd, enum ptraced_transport transport, ptraced **ret);

/* Handles one message. 1; 0 when none is there; -ECONNRESET when the connection has ended. */
int connection_dispatch(ptraced *p);
/* Waits until there may be something to handle, or the CLOCK_MONOTONIC time. -EINTR. */
int connection_wait(ptraced *p, uint64_t until);
uint64_t now_usec(void);
uint64_t usec_add(uint64_t a, uint64_t b);

/* ---- signals.c: what the service sends by itself ---- */

int connection_watch_signals(ptraced *p);
/* Learns from a reply who the service is. */
void connection_learn_owner(ptraced *p, sd_bus_message *reply);

/* ---- event.c ---- */

/* Takes over the record's strings on success. */
int event_new(struct ptraced_event_record *record, ptraced_event **ret);
int event_read(sd_bus_message *m, ptraced_event **ret);

/* ---- session.c ---- */

ptraced_session *session_find(ptraced *p, const char *id);
int session_subscribe(ptraced_session *s);
int session_unsubscribe(ptraced_session *s);
void session_end(ptraced_session *s);

/* ---- queue.c: the events that nobody took yet. Every session has such a list. ---- */

/* Takes over the event. */
void session_push(ptraced_session *s, ptraced_event *e);
ptraced_event *session_pop(ptraced_session *s);
void session_drop_events(ptraced_session *s, pid_t pid); /* 0: of every process */

/* ---- proof.c ---- */

/* What the kernel lets us trace takes nobody's permission on the system bus: that we can open the
 * memory of the process proves it (option `proof`). Of what an attach method is called with; -1: we
 * cannot, or need not. */
int proof_open(const ptraced *p, const char *method, int what);

/* ---- attach.c ---- */

/* Copies the caller's structure, of whatever size that is, over a default one. */
int attach_options_read(const struct ptraced_attach_options *o, struct ptraced_attach_options *ret);
/* NULL: stays as it is. */
int session_set_filter(ptraced_session *s, pid_t pid, const char *const *kinds,
                       const char *const *stops);
extern const char *const no_kinds[];
