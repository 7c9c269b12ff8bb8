/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/ledger.h"
#include "daemon/trace/pidref.h"
#include "daemon/trace/repair-first.h"

/* The processes in whose text a dead tracer had breakpoint instructions, or copies of instructions
 * beside their place, or whose threads have debug registers.
 *
 * Nobody may run between the tracer's end and the moment that each thread is set right. So all
 * threads are sent SIGSTOP while they are traced still, twice: the first makes those stop that run,
 * as any signal does in a traced thread, the second waits in each until the tracer is gone and then
 * stops the process. It is undone with a SIGCONT that the program does not see; its parent may see
 * one stop and continue. */

#define REPAIR_PROCESSES_MAX 4096u

/* A process to be repaired. */
struct patient {
    struct pidref process;
    pid_t text_of;    /* whose records tell of its text: its own, or its parent's, of whom it has
                         been forked */
    bool is_debugged; /* it may have debug registers, or trap behind a step */
    bool was_stopped; /* by job control, before us */
    bool is_other;    /* it has executed another program since: the records do not hold */
};

/* A record, bounded. */
struct patch {
    struct ledger_text text;
    bool was_active; /* our breakpoint instruction stood there when the tracer died */
};

struct repair_text {
    struct ledger *ledger;
    pid_t tracer;
    pid_t trapped; /* its SIGTRAP was the last to be collected, and not dealt with; 0: none */
    struct repair_first *first; /* who has to be seized at once; NULL: nobody */
    uint64_t end_usec;          /* when the treatment has to end; CLOCK_MONOTONIC */
    size_t n_patients;
    struct patient *patients;
    size_t n_patches;
    struct patch patches[];
};

/* *ret is NULL where there are none. -ENOMEM */
int repair_text_plan(struct ledger *l, struct repair_text **ret);
void repair_text_hold(struct repair_text *r);
void repair_text_run(struct repair_text *r);
void repair_text_give_up(const struct repair_text *r);
/* Accepts NULL; returns NULL. */
struct repair_text *repair_text_free(struct repair_text *r);

/* repair-threads.c: seizes every thread of a stopped patient, sets it right and lets it go. */
void repair_threads(const struct repair_text *r, const struct patient *p);

/* Whether an address has our breakpoint instruction, for that process. */
bool repair_text_is_active(const struct repair_text *r, const struct patient *p, uint64_t address);
