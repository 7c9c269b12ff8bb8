/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "client/lib/ptraced/ptraced.h"

/* Starting a program that is traced from its first instruction:
 *
 *     parent                              child
 *     plan: all that needs memory
 *     fork                                session, terminal, group, standard files, directory, ...
 *     <------------ SPAWN_READY, or the step that failed ------------
 *     attach, with a stop at the exec
 *     ------------------------- one byte: go ------------------------>
 *                                         exec
 *     <------------ SPAWN_EXECUTE with an errno, if it failed -------
 *     the event `exec`: set the filter that was asked for, continue
 *
 * Both talk over a SOCK_SEQPACKET pair that the exec closes. */

struct ptraced_spawn_options {
    char **argv;
    char **environment; /* NULL: the caller's */
    char *directory;
    int stdio[3];
    int terminal;
    bool process_group;
    bool foreground;
    bool fixed_addresses;
    struct ptraced_attach_options attach; /* its arrays are owned */
};

/* In the order that the child takes them. */
enum spawn_step {
    SPAWN_TERMINAL,
    SPAWN_GROUP,
    SPAWN_STDIO,
    SPAWN_DIRECTORY,
    SPAWN_ADDRESSES,
    SPAWN_READY,
    SPAWN_EXECUTE,
};

/* What the child says. */
struct spawn_report {
    enum spawn_step step;
    int error;
};

/* All that the child needs. Descriptors are out of the way of the standard ones. */
struct spawn_plan {
    const ptraced_spawn_options *options;
    char **candidates; /* the paths to try, as execvpe(3) would */
    char **shell_argv; /* for a script without an interpreter: [1] is the candidate */
    char **environment;
    int stdio[3];   /* -1: stays */
    int terminal;   /* -1: none of its own */
    int foreground; /* the caller's terminal, where the program gets its foreground, or -1 */
    pid_t tracer;   /* to be named with PR_SET_PTRACER, or 0 */
    int parent_end;
    int child_end;
    sigset_t mask; /* the caller's, for the program */
};

#define SPAWN_PLAN_NONE                                                                            \
    {                                                                                              \
        .stdio = {-1, -1, -1}, .terminal = -1, .foreground = -1, .parent_end = -1, .child_end = -1 \
    }

/* Prepares; the plan is SPAWN_PLAN_NONE before. spawn_plan_done() is due after a failure too. */
int spawn_plan_make(struct spawn_plan *plan, const ptraced_spawn_options *o, pid_t tracer);
void spawn_plan_done(struct spawn_plan *plan);

/* The child's life up to its exec, every signal being blocked. */
_Noreturn void spawn_child(const struct spawn_plan *plan);
