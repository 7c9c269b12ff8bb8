/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

enum event_kind {
    EVENT_STOP, /* an interrupt took effect */
    EVENT_SIGNAL,
    EVENT_GROUP_STOP,
    EVENT_CLONE,
    EVENT_FORK,
    EVENT_VFORK,
    EVENT_VFORK_DONE,
    EVENT_EXEC,
    EVENT_EXIT, /* about to end, still inspectable */
    EVENT_EXITED,
    EVENT_KILLED,
    EVENT_LOST, /* the session traces it no more */
    EVENT_STEP, /* a step, or a range, is done */
    EVENT_BREAKPOINT,
    EVENT_WATCHPOINT,
    EVENT_SYSCALL_ENTER,
    EVENT_SYSCALL_EXIT,
    EVENT_SECCOMP, /* a filter of the program's own asks its tracer (SECCOMP_RET_TRACE) */
    EVENT_KIND_MAX,
};

#define EVENT_BIT(kind) (1u << (kind))
#define EVENT_ALL (EVENT_BIT(EVENT_KIND_MAX) - 1)
/* Kinds after which there is no thread that could be held. */
#define EVENT_ENDS (EVENT_BIT(EVENT_EXITED) | EVENT_BIT(EVENT_KILLED) | EVENT_BIT(EVENT_LOST))

/* Kinds for which the kernel has to stop at every system call. */
#define EVENT_CALLS (EVENT_BIT(EVENT_SYSCALL_ENTER) | EVENT_BIT(EVENT_SYSCALL_EXIT))

enum lost_reason {
    LOST_DETACHED,
    LOST_PRIVILEGE,
    LOST_LIMIT,
    LOST_REASON_MAX,
};

/* Bytes that belong to an event: captures, a path. Shared by reference. */
struct event_data {
    unsigned references;
    size_t size;
    uint8_t bytes[];
};

/* How captures stand in an event's data, one behind the other. */
struct captured {
    uint32_t argument;
    uint32_t size; /* of the bytes that follow; they are not padded */
};

/* One event as one session sees it. Shared, by reference, between the session's queue and the
 * engine that it holds. */
struct event {
    unsigned references;
    enum event_kind kind;
    bool stopped; /* the thread waits for a Continue of this session */
    bool unsent;  /* in the queue: still to be streamed */
    bool untaken; /* in the queue: kept for GetEvent */
    pid_t pid;
    pid_t tid;
    uint64_t serial;
    uint64_t usec; /* CLOCK_MONOTONIC */
    union {
        struct {
            int signo;
            int code;
            bool sent; /* by a process: sender_* are valid */
            pid_t sender_pid;
            uid_t sender_uid;
        } signal; /* SIGNAL; of GROUP_STOP signo alone */
        struct {
            pid_t tid;
            bool thread;
        } child;       /* CLONE, FORK, VFORK, VFORK_DONE */
        pid_t old_tid; /* EXEC; data is the path */
        struct {
            int status;
            int signo; /* not 0: ended by it */
            bool core;
        } end; /* EXIT, EXITED, KILLED */
        struct {
            enum lost_reason reason;
            bool process; /* the whole process, not one thread */
        } lost;
        struct {
            uint64_t number;
            uint32_t arch;         /* AUDIT_ARCH_* */
            uint32_t seccomp_data; /* SECCOMP: what the filter returned */
            uint64_t arguments[6]; /* not of an exit */
            int64_t result;        /* of an exit; a negative errno where it failed */
            bool failed;
        } call; /* SYSCALL_ENTER, SYSCALL_EXIT, SECCOMP; data are captures */
        struct {
            uint32_t id;
            uint64_t address;
            const char *access; /* WATCHPOINT: what it watches for */
        } breakpoint;           /* BREAKPOINT, WATCHPOINT */
    };
    struct event_data *data; /* or NULL */
    TAILQ_ENTRY(event) queue;
};

/* With one reference, or NULL when memory ran out. */
struct event_data *event_data_new(size_t size);
struct event_data *event_data_unref(struct event_data *d); /* accepts NULL, returns NULL */

/* A copy on the heap with one reference (and one to its data), or NULL when memory ran out. */
struct event *event_new(const struct event *from);
struct event *event_ref(struct event *e);
struct event *event_unref(struct event *e); /* accepts NULL, returns NULL */

uint64_t event_now_usec(void);
