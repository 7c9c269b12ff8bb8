/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "client/lib/ptraced/ptraced.h"

/* A service that speaks the public interface and traces nothing, in a thread of its own, so that
 * libptraced can be tested without privilege and without the daemon.
 *
 *     CreateSession, GetSession   session s1; GetSession("gone") fails with NoSuchSession
 *     AttachProcess(1)            fails with AlreadyTraced
 *     AttachProcessFD             does what `spawn` says
 *     Process.Signal(n)           sends n events of kind signal before it answers; -1: a broken one
 *     Process.Interrupt           answers, and sends an event stop 50 ms later
 *     Process.Detach              answers, and sends an event lost
 *     Process.Kill                closes the connection instead of an answer
 *     Session.Interrupt           never answers
 *     Close                       answers and sends SessionRemoved
 *     Thread.*                    true for an even tid
 */

#define FAKE_THOUGHT_USEC 2000000

/* What follows an AttachProcessFD. */
enum fake_spawn {
    FAKE_SPAWN_EXEC,   /* exec, stopped */
    FAKE_SPAWN_EARLY,  /* a signal, stopped; when that is continued, exec */
    FAKE_SPAWN_LOST,   /* lost, with the reason privilege */
    FAKE_SPAWN_SILENT, /* nothing */
    FAKE_SPAWN_REFUSE, /* the attach fails with NotPermitted */
    FAKE_SPAWN_VANISH, /* the connection is closed */
};

struct fake {
    pthread_t thread;
    sd_bus *bus;
    enum fake_spawn spawn;
    bool forgetful;   /* knows no session: every call to one fails */
    bool unwilling;   /* Unsubscribe fails with NotSupported */
    bool thoughtful;  /* AttachProcess takes FAKE_THOUGHT_USEC */
    bool interactive; /* the last AttachProcess or AttachThread allows that somebody is asked */
    pid_t pid;        /* of the last attach */
    uint64_t serial;  /* of the last event */
    unsigned subscriptions;
    unsigned unsubscriptions;
    /* Of the last call with options: "key=value ..." in their order. */
    char options[512];
    /* The calls, as "Member" or "Interface.Member" below a session, one a word. */
    char calls[1024];
};

/* Serves one client over a socketpair; the client's connection is made too. */
struct fake *fake_new(ptraced **ret_client);

/* Serves on a bus, under the service's name. */
struct fake *fake_new_on_bus(const char *address);

/* The connection to the client must be closed; on a bus, leaves it. */
void fake_free(struct fake *f);

/* How many descriptors this process has open. */
unsigned count_descriptors(void);
