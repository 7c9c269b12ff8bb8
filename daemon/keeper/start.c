/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/keeper/control.h"
#include "daemon/keeper/log.h"
#include "daemon/keeper/start.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"

#define TRACER_NAME "ptraced-tracer"

int start_open_program(int *ret_fd)
{
    static const char *const places[] = {TRACER_NAME, "../tracer/" TRACER_NAME};
    char self[PATH_MAX], *slash;
    ssize_t n;

    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0)
        return -errno;
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return -ENOENT;
    slash[1] = '\0';

    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s%s", self, places[i]) < 0)
            return -ENOMEM;
        *ret_fd = open(path, O_PATH | O_CLOEXEC);
        if (*ret_fd >= 0)
            return 0;
        if (errno != ENOENT)
            return -errno;
    }
    return -ENOENT;
}

/* The ends that the child is given, and the gate that it waits behind. */
struct child_ends {
    int control;
    int ledger;
    int quota;   /* the keeper's */
    int program; /* the same */
    int gate[2];
};

static void child_ends_done(struct child_ends *e)
{
    trace_closep(&e->control);
    trace_closep(&e->ledger);
    trace_closep(&e->gate[0]);
    trace_closep(&e->gate[1]);
}

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    /* The two that belong to libc refuse, and have no handler in a process of one thread. */
    for (int signo = 1; signo < _NSIG; signo++)
        (void)sigaction(signo, &action, NULL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* For as long as it takes to execute it. */
#define PROGRAM_FD (TRACER_QUOTA_FD + 1)

/* All are first moved above where they shall be, since each may stand in another's place. */
static int place_descriptors(const struct child_ends *e)
{
    int control = fcntl(e->control, F_DUPFD_CLOEXEC, PROGRAM_FD + 1);
    int ledger = fcntl(e->ledger, F_DUPFD_CLOEXEC, PROGRAM_FD + 1);
    int quota = fcntl(e->quota, F_DUPFD_CLOEXEC, PROGRAM_FD + 1);
    int program = fcntl(e->program, F_DUPFD_CLOEXEC, PROGRAM_FD + 1);

    if (control < 0 || ledger < 0 || quota < 0 || program < 0)
        return -errno;
    if (dup2(control, TRACER_CONTROL_FD) < 0 || dup2(ledger, TRACER_LEDGER_FD) < 0 ||
        dup2(quota, TRACER_QUOTA_FD) < 0 || dup3(program, PROGRAM_FD, O_CLOEXEC) < 0)
        return -errno;
    if (close_range(PROGRAM_FD + 1, ~0U, 0) < 0)
        return -errno;
    return 0;
}

static void run_tracer(const struct child_ends *e) __attribute__((noreturn));

static void run_tracer(const struct child_ends *e)
{
    char *argv[] = {(char *)TRACER_NAME, NULL};
    char byte;
    int r;

    /* The gate opens when the keeper has seized this process. Without a byte the keeper is dead
     * or has given up, and nobody shall trace unguarded and unasked. */
    close(e->gate[1]);
    if (read(e->gate[0], &byte, sizeof(byte)) != sizeof(byte))
        _exit(EXIT_FAILURE);

    r = place_descriptors(e);
    if (r >= 0) {
        reset_signals();
        execveat(PROGRAM_FD, "", argv, environ, AT_EMPTY_PATH);
        r = -errno;
    }
    log_error("Cannot execute " TRACER_NAME ": %s", strerror(-r));
    _exit(EXIT_FAILURE);
}

/* A child that waits at the gate; it is no tracer yet, so that nothing is lost with it. */
static void end_child(pid_t pid)
{
    siginfo_t si;

    (void)kill(pid, SIGKILL);
    while (wait_thread(pid, 0, &si) == -EINTR)
        ;
}

static int open_channels(struct tracer *t, struct child_ends *e)
{
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    t->control_fd = pair[0];
    e->control = pair[1];

    r = ledger_create(&e->ledger);
    if (r < 0)
        return r;
    r = ledger_map(e->ledger, &t->ledger);
    if (r < 0)
        return r;
    if (pipe2(e->gate, O_CLOEXEC) < 0)
        return -errno;
    return 0;
}

int start_tracer(int program_fd, int quota_fd, struct quota_table *quota, struct tracer **ret)
{
    __attribute__((cleanup(child_ends_done))) struct child_ends e = {
        -1, -1, quota_fd, program_fd, {-1, -1}};
    __attribute__((cleanup(tracer_freep))) struct tracer *t = NULL;
    pid_t pid;
    int r;

    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->process = PIDREF_NULL;
    t->control_fd = -1;
    t->peer_fd = -1;
    r = open_channels(t, &e);
    if (r < 0)
        return r;

    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        run_tracer(&e);

    r = pidref_open(pid, &t->process);
    if (r >= 0)
        r = quota_give_row(quota, pid);
    if (r < 0) {
        end_child(pid);
        return r;
    }
    t->quota = quota;
    /* Seized before its exec, so that no tracer ever runs unguarded. Yama lets a parent trace its
     * child. The exec itself is no stop, since PTRACE_O_TRACEEXEC isn't asked for. */
    t->guard_error = ptrace_ops_seize(pid, PTRACE_O_TRACEEXIT);
    /* Where this fails, the child was killed already; its end is collected like any other's. */
    (void)!write(e.gate[1], "", 1);

    *ret = t;
    t = NULL;
    return 0;
}
