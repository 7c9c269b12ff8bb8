/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/trace/event.h"

/* What a session wants to hear of a process, applied where the event arises: what is filtered out
 * costs a stop of the kernel's and nothing more. A filter is never changed once it is in use;
 * attachments share it by reference. */

/* System calls are chosen by number, whichever architecture's they are; none of Linux's has a
 * number beyond (x32's carry a flag bit, which is left out). */
#define FILTER_CALLS_MAX 1024u
/* Results by errno; 0 is success. */
#define FILTER_ERRNOS_MAX 192u

enum capture_kind {
    CAPTURE_FIXED,  /* `size` bytes */
    CAPTURE_STRING, /* up to and without NUL, `size` bytes at the most */
    CAPTURE_BUFFER, /* as many bytes as argument `length_from` says, or the result; at most `size`
                     */
};

#define CAPTURE_RESULT 6u       /* for `length_from`: the result of the call */
#define CAPTURES_MAX 64u        /* in one filter */
#define CAPTURE_SIZE_MAX 16384u /* bytes in one event, of all its captures */

/* What an argument points to, read by the tracer while the thread stands. */
struct capture {
    uint32_t number;  /* of the call */
    uint8_t argument; /* 0 to 5 */
    uint8_t kind;     /* enum capture_kind */
    uint8_t length_from;
    bool at_exit;
    uint32_t size;
};

struct filter {
    unsigned references;
    uint32_t report;       /* EVENT_BIT()s of the kinds that are reported */
    uint32_t stops;        /* and of those that hold the thread */
    uint64_t pass_signals; /* bit signo - 1: neither reported nor held */
    bool quiet_threads;    /* no event for the start of a thread */
    bool quiet_exit;       /* nor for its end, but for the process's */
    bool chosen_calls;     /* only those in `calls` */
    bool chosen_results;   /* of syscall-exit only those in `errnos`, or any error */
    bool any_error;
    uint64_t calls[FILTER_CALLS_MAX / 64];
    uint64_t errnos[FILTER_ERRNOS_MAX / 64];
    unsigned n_captures;
    struct capture captures[CAPTURES_MAX];
};

/* Everything that costs nothing unless it happens: no system calls, no seccomp. */
#define FILTER_DEFAULT                                                                             \
    ((struct filter){.references = 1,                                                              \
                     .report = EVENT_ALL & ~(EVENT_CALLS | EVENT_BIT(EVENT_SECCOMP))})

/* A copy on the heap with one reference, or NULL when memory ran out. */
struct filter *filter_new(const struct filter *from);
struct filter *filter_ref(struct filter *f);
struct filter *filter_unref(struct filter *f); /* accepts NULL, returns NULL */

/* Choose one more. -ERANGE. */
int filter_add_call(struct filter *f, uint64_t number);
int filter_add_errno(struct filter *f, int error);

enum filter_verdict {
    FILTER_DROP,
    FILTER_REPORT,
    FILTER_HOLD, /* report, and hold the thread */
};

/* `leader`: the event's thread leads its process. Pure. */
enum filter_verdict filter_judge(const struct filter *f, const struct event *e, bool leader);

/* Whether it wants to be told where a seccomp filter asks its tracer. */
bool filter_asks_for_seccomp(const struct filter *f);

/* Whether a system call passes by number, and by result where it has one. */
bool filter_wants_call(const struct filter *f, const struct event *e);
