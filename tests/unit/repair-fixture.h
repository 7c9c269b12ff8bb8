/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdatomic.h>

#include "daemon/trace/ledger.h"
#include "tests/unit/trace-fixture.h"

/* A tracer that is killed, from end to end, and without root. Three processes: the tracee, which
 * counts its signals; the tracer, which traces it and is killed; and the test, their parent, which
 * is the tracer's guardian as the keeper is.
 *
 * The order of things is certain: the tracer does nothing but what the test tells it, step by
 * step. */

enum { SIGNALS_MAX = 65 };

/* Its handler takes two milliseconds. */
#define SLOW_SIGNAL (SIGRTMIN + 1)

/* What the tracee saw. */
struct seen {
    atomic_int counts[SIGNALS_MAX];
    siginfo_t infos[SIGNALS_MAX];
    pid_t tids[SIGNALS_MAX]; /* of the thread that saw it last */
    pid_t thread;            /* of the second thread */
};

enum step {
    STEP_SEIZE,
    STEP_LOOK,    /* waits for the stop of a thread, which the kernel keeps (WNOWAIT) */
    STEP_COLLECT, /* takes it */
    STEP_RECORD,  /* and writes it into the ledger */
    STEP_RESUME,  /* passes the signal on, but does not clear the record */
    STEP_CLEAR,
};

struct scene {
    struct seen *seen; /* shared memory */
    struct ledger *ledger;
    void *page; /* that nobody may touch, until the handler of its fault lets them */
    pid_t tracee;
    pid_t tracer;
    int orders;  /* to the tracer */
    int answers; /* one byte for each order that is done */
};

int scene_setup(void **state);
int scene_teardown(void **state);

/* Kinds of tracees. The last two wait for SIGUSR2 first. */
int counts_signals(int ready);
int counts_signals_in_two_threads(int ready);
int waits_in_sigsuspend(int ready);
int faults_when_told(int ready);
int traps_when_told(int ready);

/* Starts the tracee, then its tracer, which seizes it. */
void scene_start(struct scene *s, int (*tracee)(int ready));

/* Has the tracer do something; fails the test where it cannot. */
void scene_tell(struct scene *s, enum step step, pid_t tid);
void scene_collect_and_record(struct scene *s, pid_t tid);

/* Kills the tracer, which stands in its exit stop then; and lets go of it. */
void scene_kill_tracer(struct scene *s);
void scene_let_tracer_die(struct scene *s);

/* The whole of what a guardian does. Returns whether there was anything to repair. */
bool scene_guard(struct scene *s);

/* How often the tracee has seen a signal. */
int scene_count(const struct scene *s, int signo);
