/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/event.h"
#include "daemon/trace/filter.h"
#include "daemon/trace/grant.h"
#include "daemon/trace/queue.h"
#include "daemon/trace/renew.h"
#include "daemon/trace/tracee.h"

struct process;
struct trace;

/* Several sessions share a tracee. As in utrace, each (session, thread) pair is an engine: it says
 * whether the session holds the thread, and a thread runs when no engine holds it. What is the same
 * for all threads of a (session, process) pair is kept once, in the attachment. */

struct session {
    struct event_queue queue;
    TAILQ_HEAD(, attachment) attachments;
    TAILQ_ENTRY(session) sessions;
    struct quota_user *quota; /* NULL: nobody counts what it has */
    void *userdata;
};

struct attachment {
    struct session *session;
    struct process *process;
    uint64_t serial;     /* of the last event */
    uint64_t since_usec; /* CLOCK_MONOTONIC */
    struct filter *filter;
    struct grant *grant; /* NULL: everything */
    struct renewal renewal;
    bool observe;     /* it may not change the process, nor hold it for long: observe.h */
    bool pinned;      /* an attach works on it: it is not freed */
    bool is_lost;     /* and it would have been, for it is beyond its grant */
    bool all_stop;    /* a stop of one thread stops all */
    bool has_stopped; /* all-stop: all were told to since the last Continue */
    bool follow_threads;
    bool follow_children;
    TAILQ_HEAD(, breakpoint) breakpoints;
    uint32_t last_breakpoint; /* id */
    size_t n_engines;         /* none left: the session traces nothing of the process any more */
    TAILQ_ENTRY(attachment) by_session;
    TAILQ_ENTRY(attachment) by_process;
};

struct engine {
    struct engine *next; /* of the same tracee */
    struct attachment *attachment;
    struct event *held; /* the event by which the session holds the thread, or NULL */
    bool fresh;         /* made by an attach that may still fail */
    bool interrupting;  /* the session waits for its interrupt to take effect */
    uint8_t mode;       /* enum resume_mode: how it lets the thread run, until it holds it again */
    uint64_t range_start, range_end; /* RESUME_STEP goes on while the program counter is inside */
};

struct session *session_new(struct trace *t, size_t queue_limit, bool keeping, void *userdata);
/* Counts what the session has for its user; takes a reference. Before it has anything. */
void session_set_quota(struct session *s, struct quota_user *quota);
/* The session must be attached to nothing. Accepts NULL. */
struct session *session_free(struct trace *t, struct session *s);

struct attachment *session_find(const struct session *s, pid_t pid);

struct engine *engine_find(const struct tracee *t, const struct attachment *a);
/* -ENOMEM; -EDQUOT: its user has as many threads as may be */
int engine_add(struct tracee *t, struct attachment *a);
void engine_remove(struct tracee *t, const struct attachment *a);
void engine_remove_all(struct tracee *t);
/* Off its thread, where there is one, and on again. The attachment counts it all the while. */
struct engine *engine_take(struct tracee *t, const struct attachment *a);
void engine_put(struct tracee *t, struct engine *e);
void engine_free(struct engine *e);

/* The session gives its hold up. */
void engine_let_go(struct engine *e);

/* Whether any engine holds the thread. */
bool engine_is_any_holding(const struct tracee *t);

/* The thread has left its stop, by its own doing or by death: nobody holds it any more. */
void engine_drop_holds(struct tracee *t);

/* Nobody waits for an interrupt to take effect any more: it will not. */
void engine_drop_interrupts(struct tracee *t);

/* Tells one engine as its filter says; `hold` makes what it reports hold the thread. */
void engine_judge(struct trace *trace, struct tracee *t, struct engine *engine, struct event *e,
                  bool hold);

/* Tells every engine that wants to know. `e` is a template: kind, tid and details. */
void engine_report(struct trace *trace, struct tracee *t, struct event *e);

/* Tells one engine, and makes it hold the thread where `hold` says so. */
void engine_tell(struct trace *trace, struct tracee *t, struct engine *engine, struct event *e,
                 bool hold);

/* Tells a session of something that no engine stands for. */
void attachment_tell(struct trace *trace, struct attachment *a, struct event *e);
