/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/trace.h"

/* The core on its own: a loop over waitid() in the test, children of the test as tracees. No bus,
 * no root. A traced child of the tracer itself is reported once, to the tracer, which thereby reaps
 * it. */
struct fixture {
    struct trace *trace;
    struct ledger *ledger;
    struct session *session;
    int n_removed; /* process_removed hooks */
};

int fixture_setup(void **state);

/* Ends the child that was started last, too, if it is still there: a test that has failed leaves
 * its tracee, which would disturb the others. */
int fixture_teardown(void **state);

/* Starts a child that runs `main` and then _exits with its result. With a pipe it can say that it
 * is ready; fixture_start() waits for that. */
pid_t fixture_start(int (*child)(int ready_fd));
void child_is_ready(int ready_fd);

/* Memory, zeroed, that is shared with the children that are started from now on, until the test's
 * end; NULL on failure. */
void *fixture_share(size_t size);

/* Ends and reaps a child that the test is done with. */
void fixture_kill(struct fixture *f, pid_t pid);

/* Serves stops until nothing has come for `msec`. */
void fixture_serve(struct fixture *f, int msec);

/* Serves for that long, however much comes. */
void fixture_serve_for(struct fixture *f, int msec);

/* Serves until the session's next event, and returns it; fails the test after five seconds. It is
 * valid until the next call. */
const struct event *fixture_next(struct fixture *f, struct session *s);

/* Serves until an event of that kind, over others; NULL after `msec` without one. */
const struct event *fixture_find(struct fixture *f, struct session *s, enum event_kind kind,
                                 int msec);

int fixture_attach(struct fixture *f, struct session *s, pid_t pid, uint32_t stops);

/* The same with a filter of the test's. `o` is without its filter. tid 0: the process. */
int fixture_attach_with(struct fixture *f, struct session *s, pid_t pid, pid_t tid,
                        const struct filter *filter, struct attach_options o);
#define FOLLOW_THREADS ((struct attach_options){.follow_threads = true})

int fixture_set_filter(struct fixture *f, struct session *s, pid_t pid,
                       const struct filter *filter);
int fixture_continue(struct fixture *f, struct session *s, pid_t pid, pid_t tid);
int fixture_continue_in(struct fixture *f, struct session *s, pid_t pid, pid_t tid,
                        enum resume_mode mode);

/* Breakpoints of the fixture's session. The first fails the test where it is refused. */
uint32_t add_breakpoint(struct fixture *f, pid_t pid, struct breakpoint_options o);
int drop_breakpoint(struct fixture *f, pid_t pid, uint32_t id);
uint64_t hits_of(struct fixture *f, pid_t pid, uint32_t id);

char proc_state(pid_t tid);
/* Waits, five seconds at the most, until /proc shows that state: a thread that was let go takes a
 * moment to get there. */
bool becomes(pid_t tid, char state);
/* Serves until nobody traces the thread; a loaded machine may take longer than a detach waits. */
bool is_let_go(struct fixture *f, pid_t tid);

pid_t proc_tracer(pid_t tid);
