/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/broker/list.h"

struct broker;
struct caller;
struct session;
struct tracer;

/* A process that a tracer holds, or is about to hold: entered when the first request to attach to
 * it begins, so that two concurrent ones end up with the same tracer. */
struct tracee {
    struct list tracees; /* of the tracer */
    struct broker *broker;
    struct tracer *tracer; /* NULL: one is being fetched */
    pid_t pid;
    struct list attachments;
    struct list parked;  /* requests that wait for the tracer */
    unsigned n_requests; /* that are about to use it */
};

/* A session's hold on a tracee, as the tracer has announced it. */
struct attachment {
    struct list of_tracee;
    struct list of_session;
    struct tracee *tracee; /* NULL: it is gone */
    struct session *session;
    uint64_t id;   /* no other has had it: a pid may be another process's by now */
    uint64_t root; /* that of what it was followed from in the end, or its own */
    pid_t pid;
    uint64_t serial;        /* of the last event that went through the broker */
    uint32_t n_threads;     /* when the tracer was asked last */
    uid_t uid;              /* the same, the real one; (uid_t)-1: unknown, or it has ended */
    uint64_t since_usec;    /* CLOCK_MONOTONIC; 0: a broker before us knew */
    char *executable;       /* which it executes, escaped; NULL: unknown */
    uint64_t n_executed;    /* other ones since, of which none took another grant */
    bool is_asked_about;    /* polkit is, for what it has just executed (renew.h) */
    char *releaser;         /* the unique name of who is letting it go; NULL: nobody */
    uid_t releaser_uid;     /* its user */
    struct list clearances; /* connections that were authorised for it */
    bool observe;           /* as it was attached */
    bool asks_own;          /* what it takes is what a process of one's own does */
    bool plain;             /* its user's, without privilege, when it was attached */
    bool asks_anew;         /* of what it executes next, for each connection (renew.h) */
    bool is_counted;        /* in which it has no entry of its own */
};

/* The tracer may be NULL. A tracee that has neither attachments nor requests is gone with the next
 * tracee_release(). */
int tracee_new(struct broker *b, pid_t pid, struct tracer *tracer, struct tracee **ret);
void tracee_set_tracer(struct tracee *t, struct tracer *tracer);
void tracee_release(struct tracee *t);

/* The one that was entered last, where the pid has been reused and the first tracer has not yet
 * said so. NULL where there is none. */
struct tracee *tracee_find(struct broker *b, pid_t pid);

/* Enters what a tracer has announced; 1, or 0 where it was entered already. */
int attachment_add(struct session *s, struct tracer *tracer, pid_t pid);
/* Whose call is about to let it go, for the audit trail; NULL: nobody's. */
void attachment_set_releaser(struct attachment *a, const struct caller *c);
/* `why` is for the audit trail (audit_released()); NULL: it goes on without this broker. */
void attachment_end(struct attachment *a, const char *why);

/* What it executes, as its tracer has told; a copy, and "": unknown. -ENOMEM */
int attachment_set_executable(struct attachment *a, const char *executable);

/* No events wait any more of what the session does not trace. */
void attachments_forget_gone(struct session *s);

/* `tracer` NULL: whichever holds it. NULL where the session doesn't trace the process. */
struct attachment *attachment_find(const struct session *s, pid_t pid, const struct tracer *tracer);
