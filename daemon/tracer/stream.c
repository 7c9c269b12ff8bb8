/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <stdio.h>

#include "bus-api/escape.h"
#include "bus-api/event.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/tracer/stream.h"
#include "daemon/tracer/tracer.h"

#define EVENTS_PER_MESSAGE 64u

static const char *const kind_names[] = {
#define KIND(id, name) [EVENT_##id] = name,
    PTRACED_EVENT_KINDS(KIND)
#undef KIND
};
_Static_assert(ELEMENTSOF(kind_names) == EVENT_KIND_MAX,
               "the core and the contract know the same kinds");

static const char *const lost_names[LOST_REASON_MAX] = {
    [LOST_DETACHED] = "detached",
    [LOST_PRIVILEGE] = "privilege",
    [LOST_LIMIT] = "limit",
};

const char *stream_kind_name(enum event_kind kind)
{
    return kind_names[kind];
}

static void add_end(struct ptraced_event_record *r, const struct event *e)
{
    if (e->end.signo == 0) {
        ptraced_event_add_i(r, "status", e->end.status);
        return;
    }
    ptraced_event_add_i(r, "signal", e->end.signo);
    ptraced_event_add_b(r, "core", e->end.core);
}

static void add_signal(struct ptraced_event_record *r, const struct event *e)
{
    ptraced_event_add_i(r, "signal", e->signal.signo);
    ptraced_event_add_i(r, "code", e->signal.code);
    if (!e->signal.sent)
        return;
    ptraced_event_add_u(r, "sender-pid", (uint32_t)e->signal.sender_pid);
    ptraced_event_add_u(r, "sender-uid", e->signal.sender_uid);
}

static const char *arch_name(uint32_t arch)
{
    switch (arch) {
    case AUDIT_ARCH_X86_64:
        return "x86_64";
    case AUDIT_ARCH_I386:
        return "i386";
    case AUDIT_ARCH_AARCH64:
        return "aarch64";
    default:
        return "unknown";
    }
}

/* The core's captures go into the record as they are. */
_Static_assert(sizeof(struct captured) == sizeof(struct ptraced_capture) &&
                   offsetof(struct captured, argument) ==
                       offsetof(struct ptraced_capture, argument) &&
                   offsetof(struct captured, size) == offsetof(struct ptraced_capture, size),
               "the core and the contract lay captures out alike");

static int add_call(struct ptraced_event_record *r, const struct event *e)
{
    ptraced_event_add_t(r, "number", e->call.number);
    if (e->kind == EVENT_SECCOMP)
        ptraced_event_add_u(r, "data", e->call.seccomp_data);
    if (e->kind == EVENT_SYSCALL_EXIT) {
        ptraced_event_add_x(r, "result", e->call.result);
        if (e->call.failed)
            ptraced_event_add_i(r, "error", (int32_t)-e->call.result);
    } else {
        int k = ptraced_event_add_numbers(r, "arguments", e->call.arguments,
                                          ELEMENTSOF(e->call.arguments));

        if (k < 0)
            return k;
    }
    if (e->data) {
        int k = ptraced_event_add_captures(r, "captures", e->data->bytes, (uint32_t)e->data->size);

        if (k < 0)
            return k;
    }
    return ptraced_event_add_s(r, "arch", arch_name(e->call.arch));
}

static int add_breakpoint(struct ptraced_event_record *r, const struct event *e)
{
    ptraced_event_add_u(r, "id", e->breakpoint.id);
    ptraced_event_add_t(r, "address", e->breakpoint.address);
    return e->kind == EVENT_WATCHPOINT ? ptraced_event_add_s(r, "access", e->breakpoint.access) : 0;
}

static int add_exec(struct ptraced_event_record *r, const struct event *e)
{
    _cleanup_free_string_ char *path = NULL;

    ptraced_event_add_u(r, "old-tid", (uint32_t)e->old_tid);
    if (!e->data)
        return 0;
    path = ptraced_escape((const char *)e->data->bytes, e->data->size);
    return path ? ptraced_event_add_s(r, "path", path) : -ENOMEM;
}

static int add_details(struct ptraced_event_record *r, const struct event *e)
{
    switch (e->kind) {
    case EVENT_SIGNAL:
        add_signal(r, e);
        break;
    case EVENT_GROUP_STOP:
        ptraced_event_add_i(r, "signal", e->signal.signo);
        break;
    case EVENT_CLONE:
    case EVENT_FORK:
    case EVENT_VFORK:
        ptraced_event_add_u(r, "child", (uint32_t)e->child.tid);
        ptraced_event_add_b(r, "thread", e->child.thread);
        break;
    case EVENT_VFORK_DONE:
        ptraced_event_add_u(r, "child", (uint32_t)e->child.tid);
        break;
    case EVENT_EXEC:
        return add_exec(r, e);
    case EVENT_EXIT:
    case EVENT_EXITED:
    case EVENT_KILLED:
        add_end(r, e);
        break;
    case EVENT_LOST:
        ptraced_event_add_b(r, "process", e->lost.process);
        return ptraced_event_add_s(r, "reason", lost_names[e->lost.reason]);
    case EVENT_SYSCALL_ENTER:
    case EVENT_SYSCALL_EXIT:
    case EVENT_SECCOMP:
        return add_call(r, e);
    case EVENT_BREAKPOINT:
    case EVENT_WATCHPOINT:
        return add_breakpoint(r, e);
    case EVENT_STOP:
    case EVENT_STEP:
    case EVENT_KIND_MAX:
        break;
    }
    return 0;
}

int stream_append(sd_bus_message *m, const struct tracer_session *s, const struct event *e)
{
    _cleanup_(ptraced_event_done) struct ptraced_event_record record = {
        .serial = e->serial,
        .usec = e->usec,
        .pid = e->pid,
        .tid = e->tid,
        .stopped = e->stopped,
    };
    int r;

    snprintf(record.session, sizeof(record.session), "%s", s->id);
    snprintf(record.kind, sizeof(record.kind), "%s", stream_kind_name(e->kind));
    r = add_details(&record, e);
    if (r < 0)
        return r;
    return ptraced_event_append(m, &record);
}

static int new_signal(struct tracer *t, const char *member, sd_bus_message **ret)
{
    return sd_bus_message_new_signal(t->bus, ret, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE,
                                     member);
}

/* One message with what credit and size allow. Returns how many events it carried. */
static int send_events(struct tracer *t, struct tracer_session *s)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct event_queue *q = &s->core->queue;
    struct event *e;
    int r, n = 0;

    if (s->credit == 0 || !event_queue_next_unsent(q))
        return 0;
    r = new_signal(t, "Events", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "s", s->id);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, PTRACED_EVENT_SIGNATURE);
    if (r < 0)
        return r;
    while (s->credit > 0 && n < (int)EVENTS_PER_MESSAGE && (e = event_queue_next_unsent(q))) {
        r = stream_append(m, s, e);
        if (r < 0)
            return r;
        event_queue_mark_sent(q, e);
        s->credit--;
        n++;
    }
    r = sd_bus_message_close_container(m);
    if (r < 0)
        return r;
    r = sd_bus_send(t->bus, m, NULL);
    return r < 0 ? r : n;
}

static bool is_lost_timer_armed(const struct tracer_session *s)
{
    return s->lost_timer && sd_event_source_get_enabled(s->lost_timer, NULL) > 0;
}

static int on_lost_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct tracer_session *s = userdata;

    /* The flush that follows every turn tells the count, if it has changed. */
    s->tracer->output_pending = true;
    return 0;
}

/* At once, and then ten times a second at the most: a full queue under a flood drops very many. */
static void tell_lost(struct tracer *t, struct tracer_session *s)
{
    const uint64_t pause_usec = 100 * 1000;

    s->lost_told = s->core->queue.lost;
    (void)sd_bus_emit_signal(t->bus, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE, "Lost", "st",
                             s->id, s->lost_told);
    if (!s->lost_timer)
        (void)sd_event_add_time_relative(t->event, &s->lost_timer, CLOCK_MONOTONIC, pause_usec, 0,
                                         on_lost_timer, s);
    else if (sd_event_source_set_time_relative(s->lost_timer, pause_usec) >= 0)
        (void)sd_event_source_set_enabled(s->lost_timer, SD_EVENT_ONESHOT);
    t->rearm = true;
}

/* Others' events that were there before are no news: who asks for one thread's would be told of
 * them for ever. Of several that found nothing the first counts, and what came since is told to
 * all. */
void stream_want_ready(struct tracer_session *s)
{
    if (!s->wants_ready)
        s->nothing_at = s->core->queue.pushed;
    s->wants_ready = true;
}

static bool is_ready_wanted(const struct tracer_session *s)
{
    return s->wants_ready && s->core->queue.pushed != s->nothing_at;
}

static void flush_session(struct tracer *t, struct tracer_session *s)
{
    struct event_queue *q = &s->core->queue;

    while (send_events(t, s) > 0)
        ;
    if (is_ready_wanted(s) && event_queue_find(q, 0, 0)) {
        s->wants_ready = false;
        (void)sd_bus_emit_signal(t->bus, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE, "Ready",
                                 "s", s->id);
    }
    if (q->lost != s->lost_told && !is_lost_timer_armed(s))
        tell_lost(t, s);
}

void stream_tell_lost(struct tracer *t, struct tracer_session *s)
{
    if (t->bus && s->core->queue.lost != s->lost_told)
        tell_lost(t, s);
}

bool stream_has_output(const struct tracer_session *s)
{
    const struct event_queue *q = &s->core->queue;

    return (s->credit > 0 && event_queue_next_unsent(q)) || is_ready_wanted(s) ||
           (q->lost != s->lost_told && !is_lost_timer_armed(s));
}

void stream_flush(struct tracer *t)
{
    struct tracer_session *s;

    t->output_pending = false;
    t->check_idle = false;
    if (!t->bus || sd_bus_is_open(t->bus) <= 0) { /* it waits in the queues for the next broker */
        /* Or nothing does: what a failed attach had to let go is gone, and the broker needs us no
         * more. */
        t->exiting |= t->bus && tracer_is_idle(t);
        return;
    }
    TAILQ_FOREACH(s, &t->sessions, sessions)
        flush_session(t, s);
    if (!t->idle_told && tracer_is_idle(t)) {
        t->idle_told = true;
        (void)sd_bus_emit_signal(t->bus, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE, "Idle",
                                 NULL);
    }
}
