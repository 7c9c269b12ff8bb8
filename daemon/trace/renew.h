/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/trace/grant.h"

/* A grant for one program alone ends with the exec of the next, within the rights that it covers:
 * for that one the session needs another, and somebody else has to give it.
 *
 *     the exec stop: the session's engine is taken off the thread, so that it is told of nothing
 * and asks for nothing, and the thread stays in that stop, whoever else traces it
 *     -> hook exec_asks(): somebody is asked
 *     -> trace_renew(): the engine is put back, and is told of the exec that it missed; or the
 *        session loses the process
 *
 * Only a kill gets a thread out of its exec stop meanwhile. Then the engine is put back, to be told
 * of the end, but nothing holds the thread for it in its exit stop, and the grant stays awaited:
 * the session could look at the new program there, where others may hold it. Nothing here bounds
 * the time: who was asked does. For an observer that is time in which it holds the process. */

struct attachment;
struct engine;
struct event;
struct process;
struct session;
struct trace;
struct tracee;

struct renewal {
    struct engine *engine; /* NULL: it is the thread's, which was killed */
    struct event *exec;    /* as it is to be told; NULL: nothing is awaited */
    uint32_t number;
};

bool renew_is_awaited(const struct attachment *a);

/* In the exec stop of a thread, before anybody is told of that event. False: nobody can be asked.
 */
bool renew_begin(struct trace *t, struct attachment *a, struct tracee *tracee,
                 const struct event *exec);

/* The thread has left its exec stop, for another one: who has no grant for the new program yet
 * loses it. */
void renew_give_up(struct trace *t, struct process *p);

/* It is in its exit stop, or has ended: no grant is of any use. */
void renew_is_killed(struct process *p, struct tracee *tracee);

/* The attachment ends. */
void renew_drop(struct attachment *a);

/* The answer, by the number of the question. NULL: no grant. 0, also where the session loses the
 * process by it; -ESTALE: nobody waits for that answer any more, for one the process was killed. */
int trace_renew(struct trace *t, struct session *s, pid_t pid, uint32_t number,
                struct grant *grant);
