/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "client/ctl/follow.h"
#include "client/ctl/kinds.h"
#include "client/ctl/macro.h"
#include "client/ctl/report.h"

/* Events that are taken before signals and output get their turn. */
#define BATCH 256u

/* How long a program that has been reaped is given to have its last events told. */
#define LAST_EVENTS_USEC (5 * UINT64_C(1000000))

static uint64_t now_usec(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

unsigned follow_kinds(unsigned show, bool children)
{
    if (show == 0)
        return 0;
    show |= KIND_BIT(PTRACED_EVENT_EXITED) | KIND_BIT(PTRACED_EVENT_KILLED);
    if (children)
        show |= KIND_BIT(PTRACED_EVENT_FORK) | KIND_BIT(PTRACED_EVENT_VFORK) |
                KIND_BIT(PTRACED_EVENT_CLONE);
    return show;
}

static int note_birth(struct follow *f, const ptraced_event *e)
{
    int64_t child, thread = 0;

    ptraced_event_get_detail(e, "thread", &thread);
    if (!f->children || thread || ptraced_event_get_detail(e, "child", &child) < 0)
        return 0;
    return live_add(&f->live, (pid_t)child);
}

/* A single thread was given up: was it the last one of its process? */
static bool nothing_left(struct follow *f, pid_t pid)
{
    _cleanup_free_ struct ptraced_thread_info *threads = NULL;
    int r;

    r = ptraced_list_threads(f->session, pid, &threads);
    return r == 0 || r == -EUNATCH || r == -ESRCH || r == -ENXIO;
}

static int note_loss(struct follow *f, const ptraced_event *e)
{
    const char *reason = ptraced_event_get_detail_string(e, "reason");
    pid_t pid = ptraced_event_get_pid(e);
    int64_t process = 0;

    ptraced_event_get_detail(e, "process", &process);
    if (process && (!reason || strcmp(reason, "detached") != 0))
        f->lost = true;
    if (!process && (!live_has(&f->live, pid) || !nothing_left(f, pid)))
        return 0;
    return live_remove(&f->live, pid);
}

/* Keeps the account of who is alive. */
static int note(struct follow *f, const ptraced_event *e)
{
    if (f->until_closed)
        return 0;
    switch (ptraced_event_get_kind(e)) {
    case PTRACED_EVENT_CLONE:
    case PTRACED_EVENT_FORK:
    case PTRACED_EVENT_VFORK:
        return note_birth(f, e);
    case PTRACED_EVENT_EXITED:
    case PTRACED_EVENT_KILLED:
        /* The leader's end comes when the whole process has ended. */
        if (ptraced_event_get_tid(e) != ptraced_event_get_pid(e))
            return 0;
        return live_remove(&f->live, ptraced_event_get_pid(e));
    case PTRACED_EVENT_LOST:
        return note_loss(f, e);
    default:
        return 0;
    }
}

static bool shown(const struct follow *f, const ptraced_event *e)
{
    enum ptraced_event_kind kind = ptraced_event_get_kind(e);

    /* That something isn't traced any more is for everybody to know. */
    if (f->show == 0 || kind == PTRACED_EVENT_LOST)
        return true;
    return kind != PTRACED_EVENT_UNKNOWN && (f->show & KIND_BIT(kind));
}

static bool enough(const struct follow *f)
{
    return f->lines > 0 && f->n_printed >= f->lines;
}

static int print(struct follow *f, const ptraced_event *e)
{
    errno = 0;
    event_print(f->printer, e);
    f->n_printed++;
    f->output_failed = ferror(f->printer->out);
    return f->output_failed ? -(errno ?: EIO) : 0;
}

static int flush(struct follow *f)
{
    f->output_failed = fflush(f->printer->out) != 0;
    return f->output_failed ? -errno : 0;
}

/* Takes what has come. 1: there may be more, 0: there isn't. */
static int take_events(struct follow *f)
{
    for (unsigned i = 0; i < BATCH; i++) {
        _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;
        int r;

        if (enough(f))
            return 0;
        r = ptraced_session_get_event(f->session, 0, &e);
        if (r == -EAGAIN)
            return 0;
        if (r == -EINTR)
            return 1; /* the signal's turn */
        if (r == -ENXIO) {
            f->closed = true;
            live_clear(&f->live);
            return 0;
        }
        if (r < 0)
            return r;
        r = note(f, e);
        if (r < 0)
            return r;
        if (!shown(f, e))
            continue;
        r = print(f, e);
        if (r < 0)
            return r;
    }
    return 1;
}

static void reap(struct follow *f)
{
    int status;

    if (f->program == 0 || waitpid(f->program, &status, WNOHANG) != f->program)
        return;
    f->wait_status = status;
    f->reaped = f->program;
    if (live_has(&f->live, f->program))
        f->deadline = now_usec() + LAST_EVENTS_USEC;
    f->program = 0;
}

static void take_signals(struct follow *f)
{
    uint64_t set = signals_take(f->signals);

    if (set & SIGNAL_BIT(SIGCHLD))
        reap(f);
    set &= f->end_signals;
    if (set != 0 && f->signal == 0)
        f->signal = __builtin_ffsll((long long)set);
}

static bool finished(struct follow *f)
{
    if (f->signal != 0 || enough(f))
        return true;
    if (f->until_closed)
        return f->closed;
    return !live_any(&f->live) && f->program == 0;
}

/* The program is dead, but nobody told its end: the account goes on without it. */
static int check_deadline(struct follow *f)
{
    if (f->deadline == 0 || now_usec() < f->deadline)
        return 0;
    f->deadline = 0;
    return live_has(&f->live, f->reaped) ? live_remove(&f->live, f->reaped) : 0;
}

/* As the next write would do it, which may be hours away. */
static int fail_without_reader(struct follow *f)
{
    f->output_failed = true;
    (void)raise(SIGPIPE);
    return -EPIPE;
}

static int wait_for_more(struct follow *f, ptraced *connection)
{
    struct pollfd fds[3] = {
        {.fd = f->signals->pipe[0], .events = POLLIN},
        {.fd = -1},
        {.fd = f->watch_reader ? fileno(f->printer->out) : -1}, /* an error comes unasked */
    };
    uint64_t until = UINT64_MAX;
    struct timespec t;
    int r;

    if (connection) {
        fds[1].fd = ptraced_get_fd(connection);
        r = ptraced_get_events(connection);
        if (fds[1].fd < 0 || r < 0)
            return fds[1].fd < 0 ? fds[1].fd : r;
        fds[1].events = (short)r;
        r = ptraced_get_timeout(connection, &until);
        if (r < 0)
            return r;
    }
    if (f->deadline != 0 && f->deadline < until)
        until = f->deadline;
    if (until != UINT64_MAX) {
        uint64_t now = now_usec(), left = until > now ? until - now : 0;

        t = (struct timespec){.tv_sec = (time_t)(left / 1000000),
                              .tv_nsec = (long)(left % 1000000 * 1000)};
    }
    if (ppoll(fds, ELEMENTSOF(fds), until == UINT64_MAX ? NULL : &t, NULL) < 0)
        return errno == EINTR ? 0 : -errno;
    return fds[2].revents & (POLLERR | POLLHUP) ? fail_without_reader(f) : 0;
}

int follow(struct follow *f)
{
    ptraced *connection = ptraced_session_get_connection(f->session);
    int r, more;

    for (;;) {
        take_signals(f);
        r = check_deadline(f);
        if (r < 0)
            return r;
        more = f->closed ? 0 : take_events(f);
        if (more < 0)
            return more;
        r = flush(f);
        if (r < 0)
            return r;
        if (finished(f))
            return 0;
        if (more)
            continue;
        r = ptraced_process(connection);
        if (r == 0)
            r = wait_for_more(f, connection);
        if (r < 0)
            return r;
    }
}

int follow_program(struct follow *f)
{
    int r;

    live_clear(&f->live);
    f->deadline = 0;
    for (;;) {
        take_signals(f);
        if (f->signal != 0 || f->program == 0)
            return 0;
        r = wait_for_more(f, NULL);
        if (r < 0)
            return r;
    }
}

void follow_report_lost(struct follow *f, const struct options *o)
{
    uint64_t lost;

    if (!f->closed && ptraced_session_get_lost_events(f->session, &lost) >= 0 && lost > 0)
        report_notice(o, "%" PRIu64 " events came faster than they were read, and are missing.",
                      lost);
}

void follow_done(struct follow *f)
{
    live_clear(&f->live);
}
