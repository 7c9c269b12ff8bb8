/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus-api/escape.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "daemon/keeper/control.h"
#include "daemon/trace/process.h"
#include "daemon/trace/procfs.h"
#include "daemon/tracer/access.h"
#include "daemon/tracer/control.h"
#include "daemon/tracer/late.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/renew.h"
#include "daemon/tracer/stream.h"
#include "daemon/tracer/terminate.h"
#include "daemon/tracer/tracer.h"

#define RELEASE_USEC (2 * 1000 * 1000)

static void on_event_queued(struct session *core, void *userdata)
{
    struct tracer *t = userdata;

    if (stream_has_output(core->userdata))
        t->output_pending = true;
}

/* Of a thread that lives: a leader that has ended has none. */
char *tracer_read_executable(const struct process *p)
{
    const struct tracee *tracee;
    char path[PATH_MAX];

    TAILQ_FOREACH(tracee, &p->tracees, siblings) {
        ssize_t n = proc_read_program(p->pidref.pid, tracee->tid, path);

        if (n > 0)
            return ptraced_escape(path, (size_t)n);
    }
    return NULL;
}

static void on_process_added(struct session *core, pid_t pid, pid_t parent, void *userdata)
{
    _cleanup_free_string_ char *executable =
        tracer_read_executable(session_find(core, pid)->process);
    const struct tracer_session *s = core->userdata;
    struct tracer *t = userdata;

    t->idle_told = false;
    t->output_pending = true;
    if (t->bus)
        (void)sd_bus_emit_signal(t->bus, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE,
                                 "ProcessAdded", "suus", s->id, (uint32_t)pid, (uint32_t)parent,
                                 executable ? executable : "");
}

void tracer_tell_executable(const struct tracer_session *s, const struct process *p)
{
    _cleanup_free_string_ char *executable = tracer_read_executable(p);
    struct tracer *t = s->tracer;

    if (!t->bus)
        return;
    t->output_pending = true;
    (void)sd_bus_emit_signal(t->bus, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE, "Executed",
                             "sus", s->id, (uint32_t)p->pidref.pid, executable ? executable : "");
}

static void on_executed(struct session *core, pid_t pid, void *userdata)
{
    tracer_tell_executable(core->userdata, session_find(core, pid)->process);
}

static void on_process_removed(struct session *core, pid_t pid, enum removal why, void *userdata)
{
    static const char *const reasons[] = {
        [REMOVED_DETACHED] = "detached",
        [REMOVED_ENDED] = "ended",
        [REMOVED_PRIVILEGE] = "privilege",
        [REMOVED_LIMIT] = "limit",
    };
    struct tracer_session *s = core->userdata;
    struct tracer *t = userdata;

    renew_forget(s, pid);
    t->check_idle = true;
    t->idle_told = false;
    if (t->bus)
        (void)sd_bus_emit_signal(t->bus, PTRACED_TRACER_PATH, PTRACED_TRACER_INTERFACE,
                                 "ProcessRemoved", "sus", s->id, (uint32_t)pid, reasons[why]);
}

static bool on_exec_asks(struct session *core, const struct pidref *process, uint32_t number,
                         uint64_t usec_max, void *userdata)
{
    return renew_ask(core->userdata, process, number, usec_max);
}

static const struct trace_hooks hooks = {
    .event_queued = on_event_queued,
    .process_added = on_process_added,
    .process_removed = on_process_removed,
    .exec_asks = on_exec_asks,
    .executed = on_executed,
};

static int settle_signals(void)
{
    sigset_t mask;

    sigemptyset(&mask);
    /* A tracer that its keeper traces would stop at every SIGCHLD; it asks waitid() instead. */
    sigaddset(&mask, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return -errno;
    if (sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP},
                  NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    return 0;
}

int tracer_new(int control_fd, int ledger_fd, int quota_fd, struct tracer **ret)
{
    struct tracer *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return -ENOMEM;
    t->control_fd = control_fd;
    TAILQ_INIT(&t->sessions);
    TAILQ_INIT(&t->lates);
    TAILQ_INIT(&t->askeds);

    r = sd_event_new(&t->event);
    if (r >= 0)
        r = ledger_map(ledger_fd, &t->ledger);
    close(ledger_fd);
    if (r >= 0)
        r = quota_map(quota_fd, &t->quota_table);
    close(quota_fd);
    if (r >= 0)
        r = quota_join(t->quota_table, &t->quota);
    if (r >= 0)
        r = trace_new(&hooks, t, t->ledger, &t->trace);
    if (r >= 0)
        r = settle_signals();
    if (r >= 0)
        r = terminate_watch(t);
    if (r >= 0)
        r = control_watch(t);
    if (r >= 0)
        r = doorbell_start(&t->doorbell, sd_event_get_fd(t->event));
    if (r < 0) {
        tracer_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

static void tracer_session_free(struct tracer_session *s)
{
    sd_event_source_disable_unref(s->lost_timer);
    free(s->name);
    free(s->owner);
    free(s->lifetime);
    free(s);
}

struct tracer *tracer_free(struct tracer *t)
{
    struct tracer_session *s;

    if (!t)
        return NULL;
    doorbell_stop(&t->doorbell);
    late_flush(t, NULL);
    renew_flush(t);
    t->bus = sd_bus_close_unref(t->bus);
    trace_free(t->trace);
    while ((s = TAILQ_FIRST(&t->sessions))) {
        TAILQ_REMOVE(&t->sessions, s, sessions);
        tracer_session_free(s);
    }
    ledger_unmap(t->ledger);
    quota_unmap(t->quota_table);
    sd_event_source_disable_unref(t->holds_timer);
    sd_event_unref(t->event);
    close(t->control_fd);
    free(t);
    return NULL;
}

struct tracer_session *tracer_find_session(const struct tracer *t, const char *id)
{
    struct tracer_session *s;

    TAILQ_FOREACH(s, &t->sessions, sessions)
        if (strcmp(s->id, id) == 0)
            return s;
    return NULL;
}

static int new_core(struct tracer *t, uid_t uid, bool queue, const uint32_t max[QUOTA_KINDS],
                    struct tracer_session *s)
{
    struct quota_user *quota;
    int r = quota_open(&t->quota, uid, max, &quota);

    if (r == -EUSERS && uid == 0) { /* whom others do not keep out */
        quota = NULL;
        r = 0;
    }
    if (r < 0)
        return r;
    s->core = session_new(t->trace, PTRACED_QUEUE_MAX, queue, s);
    if (s->core)
        session_set_quota(s->core, quota);
    quota_unref(quota);
    return s->core ? 0 : -ENOMEM;
}

int tracer_add_session(struct tracer *t, const char *id, uid_t uid, bool queue,
                       const uint32_t max[QUOTA_KINDS], struct tracer_session **ret)
{
    struct tracer_session *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    r = new_core(t, uid, queue, max, s);
    if (r < 0) {
        free(s);
        return r;
    }
    s->tracer = t;
    s->uid = uid;
    s->queue = queue;
    strcpy(s->id, id);
    TAILQ_INSERT_TAIL(&t->sessions, s, sessions);
    *ret = s;
    return 0;
}

void tracer_remove_session(struct tracer *t, struct tracer_session *s)
{
    late_flush(t, s);
    trace_detach_session(t->trace, s->core);
    session_free(t->trace, s->core);
    TAILQ_REMOVE(&t->sessions, s, sessions);
    tracer_session_free(s);
    t->check_idle = true;
}

bool tracer_is_idle(const struct tracer *t)
{
    const struct tracer_session *s;

    TAILQ_FOREACH(s, &t->sessions, sessions)
        if (!event_queue_is_empty(&s->core->queue))
            return false;
    return trace_is_idle(t->trace);
}

/* The broker closed its end. With nothing left it has let us go; else it has died, and the keeper
 * will say what is to be done. */
static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct tracer *t = userdata;
    struct tracer_session *s;

    if (!sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected"))
        return 0;
    late_flush(t, NULL);
    renew_flush(t);
    if (tracer_is_idle(t))
        t->exiting = true;
    TAILQ_FOREACH(s, &t->sessions, sessions) {
        s->credit = 0;
        s->has_credit = false;
        s->wants_ready = false;
    }
    sd_bus_detach_event(t->bus);
    (void)shutdown(sd_bus_get_fd(t->bus), SHUT_RDWR); /* the keeper has it open, too */
    sd_bus_close(t->bus);
    return 1;
}

static int serve(struct tracer *t, int fd, sd_bus **ret)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    sd_id128_t id;
    int r;

    r = sd_bus_new(&bus);
    if (r < 0) {
        close(fd);
        return r;
    }
    r = sd_bus_set_fd(bus, fd, fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    /* Peer to peer between two of our own: who is at the other end was settled by the keeper. */
    if ((r = sd_id128_randomize(&id)) < 0 || (r = sd_bus_set_server(bus, true, id)) < 0 ||
        (r = sd_bus_set_anonymous(bus, true)) < 0 || (r = sd_bus_set_trusted(bus, true)) < 0 ||
        (r = sd_bus_negotiate_fds(bus, true)) < 0 || (r = sd_bus_start(bus)) < 0)
        return r;
    r = objects_register(t, bus);
    if (r < 0)
        return r;
    r = access_add(t, bus);
    if (r >= 0)
        r = renew_add(t, bus); /* which comes first */
    if (r < 0)
        return r;
    r = sd_bus_add_filter(bus, NULL, on_disconnected, t);
    if (r < 0)
        return r;
    r = sd_bus_attach_event(bus, t->event, SD_EVENT_PRIORITY_NORMAL);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(bus);
    return 0;
}

int tracer_adopt(struct tracer *t, int fd)
{
    sd_bus *bus;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int r = serve(t, fd, &bus);

    /* The keeper has it open, too: closing it would not tell the broker. */
    if (r < 0)
        (void)shutdown(copy, SHUT_RDWR);
    if (copy >= 0)
        close(copy);
    if (r < 0)
        return r;
    sd_bus_close_unref(t->bus);
    t->bus = bus;
    t->idle_told = false;
    t->output_pending = true;
    return 0;
}

static int on_release_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct tracer *t = userdata;

    t->exiting = true;
    return 0;
}

void tracer_release(struct tracer *t)
{
    struct tracer_session *s, *next;

    if (t->releasing)
        return;
    t->releasing = true;
    for (s = TAILQ_FIRST(&t->sessions); s; s = next) {
        next = TAILQ_NEXT(s, sessions);
        tracer_remove_session(t, s);
    }
    /* What the kernel does not stop in time runs, so its tracer's end does it no harm. */
    if (trace_is_idle(t->trace) ||
        sd_event_add_time_relative(t->event, NULL, CLOCK_MONOTONIC, RELEASE_USEC, 0,
                                   on_release_timeout, t) < 0)
        t->exiting = true;
}
