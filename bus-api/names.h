/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names on the bus: what a client may rely on. A name here never changes its meaning; an
 * incompatible change takes a new digit at the end of PTRACED_BUS_NAME. */

#define PTRACED_BUS_NAME "org.ptraced.Tracer1"
#define PTRACED_ROOT_PATH "/org/ptraced/Tracer1"
#define PTRACED_SESSION_PREFIX PTRACED_ROOT_PATH "/session"

#define PTRACED_MANAGER_INTERFACE "org.ptraced.Tracer1.Manager"
#define PTRACED_SESSION_INTERFACE "org.ptraced.Tracer1.Session"
#define PTRACED_PROCESS_INTERFACE "org.ptraced.Tracer1.Process"
#define PTRACED_THREAD_INTERFACE "org.ptraced.Tracer1.Thread"

/* An event: serial, CLOCK_MONOTONIC usec, process, tid, kind, stopped, details. */
#define PTRACED_EVENT_SIGNATURE "(ttousba{sv})"
#define PTRACED_EVENT_CONTENTS "ttousba{sv}"

/* Event kinds, in the order of the public enum ptraced_event_kind: first those that are reported
 * where nothing else is asked for, then those for which the kernel has to stop more often. */
#define PTRACED_EVENT_KINDS(X)                                                                     \
    PTRACED_EVENT_KINDS_DEFAULT(X)                                                                 \
    X(SYSCALL_ENTER, "syscall-enter")                                                              \
    X(SYSCALL_EXIT, "syscall-exit")                                                                \
    X(SECCOMP, "seccomp")

#define PTRACED_EVENT_KINDS_DEFAULT(X)                                                             \
    X(STOP, "stop")                                                                                \
    X(SIGNAL, "signal")                                                                            \
    X(GROUP_STOP, "group-stop")                                                                    \
    X(CLONE, "clone")                                                                              \
    X(FORK, "fork")                                                                                \
    X(VFORK, "vfork")                                                                              \
    X(VFORK_DONE, "vfork-done")                                                                    \
    X(EXEC, "exec")                                                                                \
    X(EXIT, "exit")                                                                                \
    X(EXITED, "exited")                                                                            \
    X(KILLED, "killed")                                                                            \
    X(LOST, "lost")                                                                                \
    X(STEP, "step")                                                                                \
    X(BREAKPOINT, "breakpoint")                                                                    \
    X(WATCHPOINT, "watchpoint")

/* Option keys. */
#define PTRACED_OPTION_NAME "name"
#define PTRACED_OPTION_QUEUE "queue"
#define PTRACED_OPTION_LIFETIME "lifetime"
#define PTRACED_OPTION_THREADS "threads"
#define PTRACED_OPTION_CHILDREN "children"
#define PTRACED_OPTION_EVENTS "events"
#define PTRACED_OPTION_STOPS "stops"
#define PTRACED_OPTION_STOP "stop"
#define PTRACED_OPTION_ALL_STOP "all-stop"
#define PTRACED_OPTION_ACCESS "access"
#define PTRACED_OPTION_PROOF "proof"
#define PTRACED_OPTION_EXIT "exit"
#define PTRACED_OPTION_SYSCALLS "syscalls"
#define PTRACED_OPTION_RESULTS "results"
#define PTRACED_OPTION_PASS_SIGNALS "pass-signals"
#define PTRACED_OPTION_CAPTURES "captures"
#define PTRACED_MODE_RUN "run"
#define PTRACED_MODE_STEP "step"
#define PTRACED_MODE_BLOCK_STEP "block-step"
#define PTRACED_MODE_SYSCALL "syscall"
#define PTRACED_OPTION_MODE "mode"
#define PTRACED_OPTION_RANGE "range"
#define PTRACED_OPTION_SIGNAL "signal"
#define PTRACED_OPTION_SUPPRESS "suppress"
#define PTRACED_OPTION_REGISTERS "registers"
#define PTRACED_OPTION_STACK "stack"
#define PTRACED_OPTION_SIZE "size"
#define PTRACED_OPTION_THREAD "thread"
#define PTRACED_OPTION_TEMPORARY "temporary"
#define PTRACED_OPTION_IGNORE "ignore"
#define PTRACED_OPTION_REPORT_ONLY "report-only"
#define PTRACED_OPTION_CONDITION "condition"

/* Values of the option access. */
#define PTRACED_ACCESS_OBSERVE "observe"
#define PTRACED_ACCESS_CONTROL "control"
/* What polkit is told besides, of what is no attach. */
#define PTRACED_ACCESS_LIST "list"
#define PTRACED_ACCESS_MANAGE "manage"

/* polkit actions. */
#define PTRACED_ACTION_LIST "org.ptraced.Tracer1.list"
#define PTRACED_ACTION_LIST_OTHER "org.ptraced.Tracer1.list-other"
#define PTRACED_ACTION_MANAGE "org.ptraced.Tracer1.manage"
#define PTRACED_ACTION_OPEN_MEMORY "org.ptraced.Tracer1.open-memory"
#define PTRACED_ACTION_OPEN_MEMORY_OTHER "org.ptraced.Tracer1.open-memory-other"
#define PTRACED_ACTION_OBSERVE "org.ptraced.Tracer1.observe"
#define PTRACED_ACTION_OBSERVE_OTHER "org.ptraced.Tracer1.observe-other"
#define PTRACED_ACTION_CONTROL "org.ptraced.Tracer1.control"
#define PTRACED_ACTION_CONTROL_OTHER "org.ptraced.Tracer1.control-other"

#define PTRACED_LIFETIME_CLIENT "client"
#define PTRACED_LIFETIME_PERSISTENT "persistent"

/* Modes of OpenMemory. */
#define PTRACED_MEMORY_READ "read"
#define PTRACED_MEMORY_READ_WRITE "read-write"

/* Bounds of one call, in bytes or ranges. A message passes through the broker, which holds it
 * whole; a descriptor costs it nothing. */
#define PTRACED_MEMORY_MESSAGE_MAX ((uint64_t)1 << 20)
#define PTRACED_MEMORY_MESSAGE_RANGES_MAX 4096u
#define PTRACED_MEMORY_FD_MAX ((uint64_t)1 << 30)
#define PTRACED_MEMORY_FD_RANGES_MAX 65536u
#define PTRACED_SNAPSHOT_STACK ((uint32_t)64 << 10) /* of each thread, where it is not told */
#define PTRACED_SNAPSHOT_STACK_MAX ((uint32_t)1 << 20)
#define PTRACED_SNAPSHOT_MAX ((uint64_t)1 << 30) /* the whole */
#define PTRACED_MAPS_MAX ((size_t)8 << 20)
#define PTRACED_COMMAND_LINE_MAX ((size_t)1 << 20)
