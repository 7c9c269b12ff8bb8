/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client/ctl/event-print.h"
#include "client/ctl/live.h"
#include "client/ctl/signals.h"

struct options;

/* Following a session: its events are printed until nothing is left to follow, enough were
 * printed, the session ends, or a signal ends it. */

struct follow {
    /* What to do; set before the first call. */
    ptraced_session *session;
    struct event_printer *printer;
    struct signals *signals;
    uint64_t end_signals; /* SIGNAL_BIT()s that end the following; others are passed over */
    unsigned show;        /* kinds that are printed; 0: all */
    uint64_t lines;       /* as many at most; 0: no limit */
    bool children;        /* processes that are born are waited for as well */
    bool until_closed;    /* goes on when nothing is traced: more may be attached */
    bool watch_reader;    /* ends when nobody reads any more, without waiting for an event */
    struct live live;     /* the processes to wait for */
    pid_t program;        /* a child of ours, to be waited for as well; 0: none, or reaped */

    /* What has happened. */
    int signal;  /* the signal that ended it, or 0 */
    bool closed; /* the session has ended */
    bool output_failed;
    bool lost;       /* a process could not be followed to its end, and nobody had asked for that */
    pid_t reaped;    /* the program, once it is */
    int wait_status; /* and its status */
    uint64_t n_printed;
    uint64_t deadline; /* CLOCK_MONOTONIC usec: when to stop waiting for a dead program's events */
};

/* Follows to the end. 0, or a negative errno: of writing where output_failed is set, else of the
 * connection, which is of no use any more. */
int follow(struct follow *f);

/* Waits for the program alone, when its events cannot be had any more. */
int follow_program(struct follow *f);

/* Says what is missing in what was printed: events that came faster than they were read. */
void follow_report_lost(struct follow *f, const struct options *o);

void follow_done(struct follow *f);

/* The kinds to ask the service for, so that `show` is seen and the end is not missed; 0: all. */
unsigned follow_kinds(unsigned show, bool children);
