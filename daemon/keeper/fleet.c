/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/keeper/guard.h"
#include "daemon/keeper/keeper.h"
#include "daemon/keeper/log.h"
#include "daemon/keeper/start.h"

/* So often may ready tracers end by themselves before they are started only when one is needed. */
#define FAILURES_MAX 5
#define FAILURES_USEC (10 * USEC_PER_SEC)

/* The next tracer is made ready when the attach that took the last one should be over: its start
 * takes a processor for some milliseconds, and shall not take it from that attach. Where attach
 * follows attach sooner than that, somebody is waiting for it already. */
#define RESTOCK_USEC (USEC_PER_SEC / 20)
#define STREAK_USEC (USEC_PER_SEC / 10)
#define RESTOCK_ACCURACY_USEC 1

bool fleet_has(const struct keeper *k, enum tracer_state state)
{
    struct tracer *t;

    LIST_FOREACH(t, &k->tracers, tracers)
        if (t->state == state)
            return true;
    return false;
}

/* ---- They come ---- */

/* Without a guardian tracees are still let go by the kernel, but what a dying tracer has taken from
 * them stays lost. */
static void log_guard_refusal(struct keeper *k, const struct tracer *t)
{
    if (t->guard_error >= 0 || k->guard_refusal_logged)
        return;
    k->guard_refusal_logged = true;
    log_warning("Cannot guard tracers (PTRACE_SEIZE of tracer %d: %s), going on without: a tracer "
                "that is killed may take signals with it. Allow ptrace to this service.",
                t->process.pid, strerror(-t->guard_error));
}

static int add_tracer(struct keeper *k, struct tracer **ret)
{
    struct tracer *t;
    int r;

    if (k->n_tracers >= KEEPER_TRACERS_MAX)
        return -EDQUOT;
    r = start_tracer(k->program_fd, k->quota_fd, k->quota, &t);
    if (r < 0)
        return r;
    LIST_INSERT_HEAD(&k->tracers, t, tracers);
    k->n_tracers++;
    log_guard_refusal(k, t);
    *ret = t;
    return 0;
}

static void restock_in(struct keeper *k, uint64_t usec)
{
    int r = sd_event_source_set_time_relative(k->restock, usec);

    if (r >= 0)
        r = sd_event_source_set_enabled(k->restock, SD_EVENT_ONESHOT);
    if (r < 0)
        log_error("Cannot keep a tracer ready, ignoring: %s", strerror(-r));
}

void fleet_restock(struct keeper *k)
{
    restock_in(k, RESTOCK_USEC);
}

void fleet_taken(struct keeper *k)
{
    uint64_t now = 0;
    bool streak;

    (void)sd_event_now(k->event, CLOCK_MONOTONIC, &now);
    streak = k->taken_usec > 0 && now - k->taken_usec < STREAK_USEC;
    k->taken_usec = now;
    k->ready = NULL;
    restock_in(k, streak ? 0 : RESTOCK_USEC);
}

static int on_restock(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct keeper *k = userdata;
    int r;

    if (k->ready || k->exiting)
        return 0;
    r = add_tracer(k, &k->ready);
    if (r < 0)
        log_error("Cannot keep a tracer ready, the next attach tries again: %s", strerror(-r));
    return 0;
}

/* ---- They go ---- */

/* Once for each tracer that ended otherwise than by order. */
static void log_end(const struct tracer *t, const struct stop *end)
{
    const char *consequence =
        t->state == TRACER_READY ? "it traced nothing yet" : "what it traced runs on untraced";

    if (t->state == TRACER_KILLED)
        return;
    if (end->kind == STOP_KILLED)
        log_warning("Tracer %d was killed by signal %d (%s)%s; %s", t->process.pid, end->signo,
                    strsignal(end->signo), end->core ? ", core dumped" : "", consequence);
    else if (end->status != EXIT_SUCCESS)
        log_warning("Tracer %d failed with status %d; %s", t->process.pid, end->status,
                    consequence);
}

static int on_repaired(sd_event_source *source, const siginfo_t *si, void *userdata)
{
    struct keeper *k = userdata;

    if (si->si_code != CLD_EXITED || si->si_status != EXIT_SUCCESS)
        log_warning("Repair %d of what a dead tracer traced did not finish, ignoring", si->si_pid);
    k->n_repairs--;
    release_check(k);
    return 0;
}

/* A repair must not hold open what others take for the keeper's life. */
static void close_sockets(const struct keeper *k, const struct tracer *dead)
{
    struct tracer *t;

    if (k->bus)
        close(k->bus_fd);
    if (k->listen_fd >= 0)
        close(k->listen_fd);
    LIST_FOREACH(t, &k->tracers, tracers) {
        close(t->control_fd);
        if (t->peer_fd >= 0 && t != dead)
            close(t->peer_fd);
    }
}

static void watch_repair(struct keeper *k, pid_t pid)
{
    sd_event_source *source;
    int r = sd_event_add_child(k->event, &source, pid, WEXITED, on_repaired, k);

    if (r < 0) {
        log_error("Cannot wait for repair %d, ignoring: %s", pid, strerror(-r));
        return;
    }
    k->n_repairs++;
    (void)sd_event_source_set_floating(source, true);
    sd_event_source_unref(source);
}

static int start_repair(struct keeper *k, struct tracer *t, int held_fd)
{
    pid_t pid = fork();

    if (pid < 0) {
        log_error("Cannot repair what tracer %d traced: fork failed: %s", t->process.pid,
                  strerror(errno));
        return -errno;
    }
    if (pid == 0) {
        close_sockets(k, t);
        guard_run_repair(t, held_fd);
    }
    watch_repair(k, pid);
    return 0;
}

/* The other end is closed: the repair has got so far, or has ended before it did. */
static int on_held(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct tracer *t = userdata;

    t->holding = sd_event_source_disable_unref(t->holding);
    guard_let_die(t);
    return 0;
}

static int watch_holding(struct keeper *k, struct tracer *t, int fd)
{
    int r = sd_event_add_io(k->event, &t->holding, fd, 0, on_held, t);

    if (r < 0) {
        close(fd);
        return r;
    }
    r = sd_event_source_set_io_fd_own(t->holding, true);
    return r < 0 ? r : sd_event_source_set_priority(t->holding, SD_EVENT_PRIORITY_IMPORTANT);
}

static int hold_by_repair(struct keeper *k, struct tracer *t)
{
    int fds[2], r;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    r = watch_holding(k, t, fds[0]);
    if (r >= 0)
        r = start_repair(k, t, fds[1]);
    close(fds[1]);
    return r;
}

/* The tracer stands in its exit until the repair says so. */
static void hold(struct keeper *k, struct tracer *t)
{
    t->held = true;
    if (hold_by_repair(k, t) < 0)
        guard_let_die(t);
}

static void repair(struct keeper *k, struct tracer *t)
{
    if (t->repair && !t->held)
        (void)start_repair(k, t, -EBADF);
}

static void ready_tracer_gone(struct keeper *k)
{
    uint64_t now;

    k->ready = NULL;
    if (k->exiting || sd_event_now(k->event, CLOCK_MONOTONIC, &now) < 0)
        return;
    if (ratelimit_below(&k->failures, now))
        fleet_restock(k);
    else
        log_error("Tracers end right after their start, starting one only when it is needed");
}

static void tracer_gone(struct keeper *k, struct tracer *t, const struct stop *end)
{
    log_end(t, end);
    LIST_REMOVE(t, tracers);
    k->n_tracers--;
    if (t == k->ready)
        ready_tracer_gone(k);
    repair(k, t);
    tracer_free(t);
    release_check(k);
}

static void collect(struct keeper *k, struct tracer *t)
{
    struct stop end;

    if (guard_collect(t, &end))
        tracer_gone(k, t, &end);
    else if (t->dying && !t->held && guard_has_to_hold(t))
        hold(k, t);
}

static int on_sigchld(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
    struct keeper *k = userdata;
    struct tracer *t, *next;

    /* Several stops may have come as one signal, so every tracer is asked. */
    for (t = LIST_FIRST(&k->tracers); t; t = next) {
        next = LIST_NEXT(t, tracers);
        collect(k, t);
    }
    return 0;
}

/* ---- The fleet as a whole ---- */

int fleet_ensure_ready(struct keeper *k)
{
    if (k->ready)
        collect(k, k->ready);
    if (k->ready && k->ready->dying)
        k->ready = NULL;
    return k->ready ? 0 : add_tracer(k, &k->ready);
}

static int add_sources(struct keeper *k)
{
    sd_event_source *sigchld = NULL;
    int r;

    /* Before everything else: a dying tracer and its tracees stand still until we have looked. */
    r = sd_event_add_signal(k->event, &sigchld, SIGCHLD, on_sigchld, k);
    if (r >= 0)
        r = sd_event_source_set_priority(sigchld, SD_EVENT_PRIORITY_IMPORTANT);
    if (r >= 0)
        r = sd_event_source_set_floating(sigchld, true);
    sd_event_source_unref(sigchld);
    /* After every request that has arrived: a fork is nothing to wait behind. */
    if (r >= 0)
        r = sd_event_add_time(k->event, &k->restock, CLOCK_MONOTONIC, 0, RESTOCK_ACCURACY_USEC,
                              on_restock, k);
    if (r >= 0)
        r = sd_event_source_set_enabled(k->restock, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_source_set_priority(k->restock, SD_EVENT_PRIORITY_IDLE);
    return r;
}

int fleet_start(struct keeper *k)
{
    int r;

    k->failures = (struct ratelimit){.interval_usec = FAILURES_USEC, .burst = FAILURES_MAX};
    r = add_sources(k);
    if (r < 0)
        return r;
    r = quota_create(&k->quota_fd);
    if (r >= 0)
        r = quota_map(k->quota_fd, &k->quota);
    if (r < 0)
        return r;
    r = start_open_program(&k->program_fd);
    if (r < 0) {
        log_error("Cannot find ptraced-tracer beside this program: %s", strerror(-r));
        return r;
    }
    r = add_tracer(k, &k->ready);
    if (r < 0)
        log_error("Cannot start a tracer: %s", strerror(-r));
    return r;
}
