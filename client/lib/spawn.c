/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/lib/fork.h"
#include "client/lib/internal.h"
#include "client/lib/spawn-plan.h"
#include "client/lib/strv.h"

/* From the end of the exec to its event, and of a process to its last one: much more than it
 * takes. */
#define EXEC_EVENT_USEC (10 * USEC_PER_SEC)
#define LAST_EVENT_USEC (1 * USEC_PER_SEC)

/* What has to be reported until the program is started, and what has to stop it, whatever the
 * caller asked for: only so it is certain where the caller's own events begin, and where they end
 * when it comes to nothing, and the caller's filter holds from the first instruction. */
static const char *const needed_kinds[] = {"exec", "exited", "killed", NULL};
static const char *const needed_stops[] = {"exec", NULL};

struct spawn {
    ptraced_session *session;
    const ptraced_spawn_options *options;
    struct spawn_plan plan;
    pid_t pid;
    int pidfd;
    bool is_attached;
    bool subscribe; /* only for as long as this takes */
};

static void spawn_done(struct spawn *spawn)
{
    spawn_plan_done(&spawn->plan);
    bus_api_closep(&spawn->pidfd);
}

/* ---- What the child says ---- */

/* ENOENT is also said of a file that is there, when what its first line or its program header names
 * is not. */
static bool lacks_interpreter(const struct spawn *spawn, int error)
{
    if (error != -ENOENT)
        return false;
    for (char **candidate = spawn->plan.candidates; *candidate; candidate++) {
        /* Not ours to look at: the program's directory was to be another one. */
        if (**candidate != '/' && spawn->options->directory)
            continue;
        if (access(*candidate, X_OK) == 0)
            return true;
    }
    return false;
}

static int fail_execute(struct spawn *spawn, int error)
{
    const char *name = spawn->options->argv[0];
    ptraced *p = spawn->session->connection;

    if (!*name)
        return connection_fail(p, error, "Failed to execute a program whose name is empty: %s",
                               strerror(-error));
    if (lacks_interpreter(spawn, error))
        return connection_fail(p, error,
                               "Failed to execute %s: the interpreter or loader that it names does "
                               "not exist",
                               name);
    return connection_fail(p, error, "Failed to execute %s: %s", name, strerror(-error));
}

static int fail_step(struct spawn *spawn, const struct spawn_report *report)
{
    static const char *const attempts[] = {
        [SPAWN_TERMINAL] = "make this its terminal",
        [SPAWN_GROUP] = "give it a process group of its own",
        [SPAWN_STDIO] = "give it its standard input and output",
        [SPAWN_DIRECTORY] = "change to its directory",
        [SPAWN_ADDRESSES] = "keep its addresses from being randomised",
    };
    const char *name = spawn->options->argv[0], *reason = strerror(report->error);
    ptraced *p = spawn->session->connection;
    int error = report->error > 0 ? -report->error : -EBADMSG;

    if (report->step == SPAWN_EXECUTE)
        return fail_execute(spawn, error);
    if (report->step == SPAWN_DIRECTORY)
        return connection_fail(p, error, "Failed to start %s: cannot change to directory %s: %s",
                               name, spawn->options->directory, reason);
    if (report->step < ELEMENTSOF(attempts))
        return connection_fail(p, error, "Failed to start %s: cannot %s: %s", name,
                               attempts[report->step], reason);
    return connection_fail(p, error, "Failed to start %s: %s", name, reason);
}

static int fail_died(struct spawn *spawn)
{
    return connection_fail(
        spawn->session->connection, -ECANCELED,
        "Failed to start %s: process %d ended, or was lost, before it executed it.",
        spawn->options->argv[0], spawn->pid);
}

/* 1: the child is ready; 0: it has closed its end; -EAGAIN: nothing yet; what failed in it. */
static int read_report(struct spawn *spawn, int flags)
{
    struct spawn_report report;
    ssize_t n;

    do
        n = recv(spawn->plan.parent_end, &report, sizeof(report), flags);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return -EAGAIN;
    /* A reset is a child that was killed with something unread. */
    if (n <= 0)
        return 0;
    if (n == sizeof(report) && report.step == SPAWN_READY)
        return 1;
    return fail_step(spawn, &report);
}

/* ---- Step by step ---- */

static int wait_until_ready(struct spawn *spawn)
{
    /* Its death too: a process that another thread forked may keep a copy of its end. */
    struct pollfd fds[2] = {
        {.fd = spawn->plan.parent_end, .events = POLLIN},
        {.fd = spawn->pidfd, .events = POLLIN},
    };
    int r;

    do
        r = poll(fds, ELEMENTSOF(fds), -1);
    while (r < 0 && errno == EINTR);
    r = read_report(spawn, MSG_DONTWAIT);
    return r == 0 || r == -EAGAIN ? fail_died(spawn) : r;
}

static int start_child(struct spawn *spawn)
{
    struct spawn_plan *plan = &spawn->plan;
    pid_t pid;

    signals_block(&plan->mask);
    pid = fork_pidfd(SIGCHLD, &spawn->pidfd);
    if (pid == 0)
        spawn_child(plan);
    signals_restore(&plan->mask);
    if (pid < 0)
        return connection_fail(spawn->session->connection, pid, "Failed to start %s: %s",
                               spawn->options->argv[0], strerror(-pid));
    spawn->pid = pid;
    close(TAKE_FD(plan->child_end));
    return wait_until_ready(spawn);
}

static int attach_child(struct spawn *spawn)
{
    struct ptraced_attach_options options = spawn->options->attach;
    _cleanup_(strv_freep) char **kinds = NULL, **stops = NULL;
    ptraced_session *s = spawn->session;
    int r;

    kinds = strv_union((const char *const *)options.kinds, needed_kinds);
    stops = strv_union((const char *const *)options.stops, needed_stops);
    if (!kinds || !stops)
        return connection_fail(s->connection, -ENOMEM, "Out of memory.");
    /* No kinds are all of them. */
    if (options.kinds)
        options.kinds = (const char **)kinds;
    options.stops = (const char **)stops;
    options.stop = false;

    if (!s->is_subscribed) {
        r = session_subscribe(s);
        if (r < 0)
            return r;
        spawn->subscribe = true;
    }
    s->starting = (struct starting){.pid = spawn->pid};
    r = ptraced_attach_pidfd(s, spawn->pidfd, &options);
    if (r < 0)
        return r;
    spawn->is_attached = true;
    return 0;
}

static int let_go(struct spawn *spawn)
{
    static const char go = 'g';

    if (send(spawn->plan.parent_end, &go, sizeof(go), MSG_NOSIGNAL) < 0)
        return fail_died(spawn);
    return 0;
}

/* Until the child or the service has something to say. */
static int wait_for_both(struct spawn *spawn, bool is_closed, uint64_t until)
{
    ptraced *p = spawn->session->connection;
    struct pollfd fds[2] = {
        {.fd = is_closed ? -1 : spawn->plan.parent_end, .events = POLLIN},
        {.fd = sd_bus_get_fd(p->bus), .events = (short)sd_bus_get_events(p->bus)},
    };
    uint64_t now = now_usec(), usec = USEC_INFINITY;
    struct timespec ts, *timeout = NULL;

    (void)sd_bus_get_timeout(p->bus, &usec);
    if (usec < until)
        until = usec;
    if (until != USEC_INFINITY) {
        usec = until > now ? until - now : 0;
        ts.tv_sec = (time_t)(usec / USEC_PER_SEC);
        ts.tv_nsec = (long)(usec % USEC_PER_SEC) * 1000;
        timeout = &ts;
    }
    if (ppoll(fds, ELEMENTSOF(fds), timeout, NULL) < 0 && errno != EINTR)
        return connection_fail(p, -errno, "Failed to wait for process %d: %s", spawn->pid,
                               strerror(errno));
    return 0;
}

/* Handles what the service has sent, up to the exec. What stops the program before is continued. */
static int read_events(struct spawn *spawn)
{
    ptraced_session *s = spawn->session;
    int r = 1;

    while (r > 0 && !s->starting.executed) {
        pid_t tid = s->starting.stopped_tid;

        if (tid > 0) {
            s->starting.stopped_tid = 0;
            r = ptraced_continue(s, spawn->pid, tid);
            if (r < 0)
                return r;
        }
        r = connection_dispatch(s->connection);
        /* The answer to the call above may have come behind another stop. */
        if (r == 0 && s->starting.stopped_tid > 0)
            r = 1;
    }
    if (r < 0)
        return connection_fail(s->connection, r, "The tracing service left while %s was started.",
                               spawn->options->argv[0]);
    return 0;
}

static int wait_for_exec(struct spawn *spawn)
{
    struct starting *starting = &spawn->session->starting;
    uint64_t until = USEC_INFINITY;
    bool is_closed = false;
    int r;

    for (;;) {
        r = read_events(spawn);
        if (r < 0 || starting->executed)
            return r;
        if (spawn->session->has_ended)
            return connection_fail(spawn->session->connection, -ENXIO,
                                   "Session %s ended while %s was started.", spawn->session->id,
                                   spawn->options->argv[0]);
        r = is_closed ? -EAGAIN : read_report(spawn, MSG_DONTWAIT);
        if (r == 0) {
            is_closed = true;
            until = usec_add(now_usec(), EXEC_EVENT_USEC);
        } else if (r != -EAGAIN)
            return r < 0 ? r : -EBADMSG;
        /* The program runs, and its event `lost` says why without us. */
        if (starting->privileged)
            return 0;
        if (starting->ended)
            return fail_died(spawn);
        if (now_usec() >= until)
            return connection_fail(spawn->session->connection, -ETIMEDOUT,
                                   "Process %d executed %s, but the service did not report it.",
                                   spawn->pid, spawn->options->argv[0]);
        r = wait_for_both(spawn, is_closed, until);
        if (r < 0)
            return r;
    }
}

/* At the exec: the filter becomes the one that was asked for, and so does the stop. */
static int settle(struct spawn *spawn)
{
    const struct ptraced_attach_options *asked = &spawn->options->attach;
    const char *const *kinds = (const char *const *)asked->kinds;
    const char *const *stops = (const char *const *)asked->stops;
    bool stopping = strv_contains(stops, "exec");
    ptraced_session *s = spawn->session;
    int r;

    if (!s->starting.executed)
        return 0;
    if (!stopping || (kinds && !strv_includes(kinds, needed_kinds))) {
        r = session_set_filter(s, spawn->pid, kinds, stops ? stops : no_kinds);
        if (r < 0)
            return r;
    }
    if (asked->stop || stopping)
        return 0;
    /* It stands, so that its exec is all there is of it. */
    s->starting.exec->stopped = false;
    if (kinds && !strv_contains(kinds, "exec"))
        session_drop_events(s, spawn->pid);
    r = ptraced_continue(s, spawn->pid, 0);
    return r < 0 ? r : 0;
}

/* ---- Ends ---- */

static void give_back_foreground(struct spawn *spawn)
{
    sigset_t before;

    if (spawn->plan.foreground < 0)
        return;
    signals_block(&before);
    (void)tcsetpgrp(spawn->plan.foreground, getpgrp());
    signals_restore(&before);
}

/* Lets its last event pass, so that none comes to the caller later. */
static void wait_for_last_event(ptraced_session *s)
{
    uint64_t until = usec_add(now_usec(), LAST_EVENT_USEC);
    int r = 0;

    while (!s->starting.over && !s->has_ended && r >= 0 && now_usec() < until) {
        r = connection_dispatch(s->connection);
        if (r == 0)
            r = connection_wait(s->connection, until);
        if (r == -EINTR)
            r = 0;
    }
}

static void stop_listening(struct spawn *spawn)
{
    if (!spawn->subscribe)
        return;
    (void)session_unsubscribe(spawn->session);
    session_drop_events(spawn->session, 0);
}

/* Nothing is left, and what is told is what failed first. */
static void abandon(struct spawn *spawn)
{
    ptraced_session *s = spawn->session;
    char *name = TAKE_PTR(s->connection->error_name);
    char *message = TAKE_PTR(s->connection->error_message);

    kill_child(spawn->pid, spawn->pidfd);
    s->starting.abandoned = true;
    session_drop_events(s, spawn->pid);
    if (spawn->is_attached) {
        /* It may hold the dying process in a stop. */
        (void)ptraced_detach(s, spawn->pid, 0);
        wait_for_last_event(s);
    }
    reap_pidfd(spawn->pidfd);
    give_back_foreground(spawn);
    stop_listening(spawn);

    free(s->connection->error_name);
    free(s->connection->error_message);
    s->connection->error_name = name;
    s->connection->error_message = message;
}

static int run(struct spawn *spawn)
{
    int r;

    r = start_child(spawn);
    if (r < 0)
        return r;
    r = attach_child(spawn);
    if (r < 0)
        return r;
    r = let_go(spawn);
    if (r < 0)
        return r;
    r = wait_for_exec(spawn);
    if (r < 0)
        return r;
    return settle(spawn);
}

static int check(ptraced *p, const ptraced_spawn_options *o)
{
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    if (!o->argv)
        return connection_fail(p, -EINVAL, "There is no program to start.");
    if (p->transport == PTRACED_TRANSPORT_REMOTE || p->transport == PTRACED_TRANSPORT_MACHINE)
        return connection_fail(p, -EOPNOTSUPP,
                               "A program is started where the caller is, and the service is not "
                               "there: start it there, and attach.");
    return 0;
}

static int spawn_program(ptraced_session *s, const ptraced_spawn_options *o, pid_t *ret_pid)
{
    _cleanup_(spawn_done) struct spawn spawn = {
        .session = s,
        .options = o,
        .plan = SPAWN_PLAN_NONE,
        .pidfd = -1,
    };
    ptraced *p = s->connection;
    int r;

    r = spawn_plan_make(&spawn.plan, o, p->keeper);
    if (r < 0)
        return connection_fail(p, r, "Failed to prepare the start of %s: %s", o->argv[0],
                               strerror(-r));
    r = run(&spawn);
    if (r >= 0)
        stop_listening(&spawn);
    else if (spawn.pidfd >= 0)
        abandon(&spawn);
    s->starting = (struct starting){0};
    if (r < 0)
        return r;
    *ret_pid = spawn.pid;
    return 0;
}

_public_ int ptraced_spawn(ptraced_session *s, const ptraced_spawn_options *o, pid_t *ret_pid)
{
    int r = check(s->connection, o);

    return r < 0 ? r : spawn_program(s, o, ret_pid);
}
