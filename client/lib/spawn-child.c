/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/lib/fork.h"
#include "client/lib/spawn-plan.h"

/* Between fork and exec in a program that may have threads: async-signal-safe functions only. Each
 * step returns 0 or an errno. */

static void say(const struct spawn_plan *plan, enum spawn_step step, int error)
{
    const struct spawn_report report = {.step = step, .error = error};

    (void)send(plan->child_end, &report, sizeof(report), MSG_NOSIGNAL);
}

static int take_terminal(const struct spawn_plan *plan)
{
    if (plan->terminal < 0)
        return 0;
    /* The terminal's foreground is the new session's leader's with it. */
    if (setsid() < 0 || ioctl(plan->terminal, TIOCSCTTY, 0) < 0)
        return errno;
    return 0;
}

static int take_group(const struct spawn_plan *plan)
{
    /* A session's leader leads its group already, and may not change it. */
    if (!plan->options->process_group || plan->terminal >= 0)
        return 0;
    if (setpgid(0, 0) < 0)
        return errno;
    /* From the background: SIGTTOU is blocked with all others. */
    if (plan->foreground >= 0 && tcsetpgrp(plan->foreground, getpid()) < 0)
        return errno;
    return 0;
}

static int take_stdio(const struct spawn_plan *plan)
{
    for (int i = 0; i < 3; i++)
        if (plan->stdio[i] >= 0 && dup2(plan->stdio[i], i) < 0)
            return errno;
    return 0;
}

static int take_directory(const struct spawn_plan *plan)
{
    if (plan->options->directory && chdir(plan->options->directory) < 0)
        return errno;
    return 0;
}

static int take_addresses(const struct spawn_plan *plan)
{
    int before;

    if (!plan->options->fixed_addresses)
        return 0;
    before = personality(0xffffffff);
    if (before < 0 || personality((unsigned long)before | ADDR_NO_RANDOMIZE) < 0)
        return errno;
    return 0;
}

static void be_ready(const struct spawn_plan *plan)
{
    static int (*const steps[])(const struct spawn_plan *) = {
        [SPAWN_TERMINAL] = take_terminal,   [SPAWN_GROUP] = take_group,
        [SPAWN_STDIO] = take_stdio,         [SPAWN_DIRECTORY] = take_directory,
        [SPAWN_ADDRESSES] = take_addresses,
    };

    for (enum spawn_step step = 0; step < SPAWN_READY; step++) {
        int error = steps[step](plan);

        if (error) {
            say(plan, step, error);
            _exit(127);
        }
    }
    /* Where there is no Yama there is nothing to be named for. */
    if (plan->tracer > 0)
        (void)prctl(PR_SET_PTRACER, (unsigned long)plan->tracer, 0UL, 0UL, 0UL);
    say(plan, SPAWN_READY, 0);
}

static void wait_for_go(const struct spawn_plan *plan)
{
    ssize_t n;
    char go;

    do
        n = recv(plan->child_end, &go, sizeof(go), 0);
    while (n < 0 && errno == EINTR);
    /* The parent gave up, or died: then nothing shall come of the program either. */
    if (n != sizeof(go))
        _exit(127);
}

/* As execvpe(3) does it, but without memory of its own: it returns the errno of the candidate that
 * says most. */
static int execute(const struct spawn_plan *plan)
{
    int error = ENOENT;

    for (char **candidate = plan->candidates; *candidate; candidate++) {
        execve(*candidate, plan->options->argv, plan->environment);
        if (errno == ENOEXEC) {
            plan->shell_argv[1] = *candidate;
            execve(plan->shell_argv[0], plan->shell_argv, plan->environment);
        }
        switch (errno) {
        case EACCES:
            error = EACCES;
            break;
        case ENOENT:
        case ENOTDIR:
        case ESTALE:
        case ENODEV:
        case ETIMEDOUT:
        case ENAMETOOLONG:
            if (!plan->candidates[1])
                error = errno;
            break;
        default:
            return errno;
        }
    }
    return error;
}

void spawn_child(const struct spawn_plan *plan)
{
    close(plan->parent_end);
    be_ready(plan);
    wait_for_go(plan);
    signals_reset(true);
    signals_restore(&plan->mask);
    say(plan, SPAWN_EXECUTE, execute(plan));
    _exit(127);
}
