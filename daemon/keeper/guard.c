/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/keeper/guard.h"
#include "daemon/keeper/log.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"

/* Seconds until a repair gives up: a hostile tracee may hold it for ever. */
#define REPAIR_TIMEOUT_SEC 10

static void plan_repair(struct tracer *t)
{
    struct repair *repair;
    int r = repair_plan(t->ledger, &repair);

    if (r < 0) {
        log_error("Cannot plan what the end of tracer %d takes from its tracees, ignoring: %s",
                  t->process.pid, strerror(-r));
        return;
    }
    repair_free(t->repair);
    t->repair = repair;
}

/* -ESRCH from any of these means that it was killed out of the stop: the next wait tells. */
static void let_go_on(struct tracer *t, const struct stop *stop)
{
    pid_t pid = t->process.pid;

    switch (stop->kind) {
    case STOP_EXIT:
        t->dying = true;
        plan_repair(t);
        if (!guard_has_to_hold(t))
            guard_let_die(t);
        break;
    case STOP_SIGNAL_DELIVERY:
        (void)ptrace_ops_cont(pid, stop->signo);
        break;
    case STOP_GROUP:
        (void)ptrace_ops_listen(pid);
        break;
    default:
        (void)ptrace_ops_cont(pid, 0);
        break;
    }
}

bool guard_has_to_hold(const struct tracer *t)
{
    return t->repair && repair_needs_hold(t->repair);
}

void guard_let_die(struct tracer *t)
{
    (void)ptrace_ops_cont(t->process.pid, 0);
}

int guard_collect(struct tracer *t, struct stop *ret_end)
{
    struct stop stop;
    siginfo_t si;

    /* Once is enough: what the tracer reports after this raises a SIGCHLD of its own. */
    if (wait_thread(t->process.pid, WNOHANG, &si) <= 0)
        return 0;
    stop_decode(&si, &stop);
    if (stop_is_end(stop.kind)) {
        *ret_end = stop;
        return 1;
    }
    if (t->guard_error >= 0)
        let_go_on(t, &stop);
    return 0;
}

/* However long it takes: those whom the repair has stopped would stay so. It is let go by the
 * keeper, or by the kernel when the keeper dies. */
static void wait_for_death(const struct tracer *t)
{
    struct pollfd p = {.fd = t->process.fd, .events = POLLIN};

    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
}

static const struct repair *under_way; /* for the handler, which is told nothing else */

__attribute__((noreturn)) static void on_alarm(int signo)
{
    repair_give_up(under_way); /* NOLINT(bugprone-signal-handler): system calls alone */
    _exit(EXIT_FAILURE);
}

void guard_run_repair(struct tracer *t, int held_fd)
{
    under_way = t->repair;
    (void)signal(SIGALRM, on_alarm);
    alarm(REPAIR_TIMEOUT_SEC);
    if (guard_has_to_hold(t)) {
        repair_hold(t->repair);
        close(held_fd);
        alarm(0);
        wait_for_death(t);
        alarm(REPAIR_TIMEOUT_SEC);
    }
    repair_run(t->repair);
    _exit(EXIT_SUCCESS);
}
