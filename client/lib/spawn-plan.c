/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "client/lib/fork.h"
#include "client/lib/spawn-plan.h"
#include "client/lib/strv.h"

/* The directories of PATH with the name behind each; an empty one is the current directory. */
static char **join_path(const char *path, const char *name)
{
    size_t n = 1, i = 0;
    char **joined;

    for (const char *c = path; *c; c++)
        n += *c == ':';
    joined = calloc(n + 1, sizeof(*joined));
    if (!joined)
        return NULL;

    for (const char *p = path;; p++) {
        size_t length = strcspn(p, ":");

        if (asprintf(&joined[i], "%.*s%s%s", (int)length, p, length ? "/" : "", name) < 0) {
            joined[i] = NULL;
            return strv_free(joined);
        }
        i++;
        p += length;
        if (!*p)
            return joined;
    }
}

static char **find_candidates(const char *name)
{
    const char *const as_it_is[] = {name, NULL}, *path;

    if (strchr(name, '/') || !*name)
        return strv_copy(as_it_is);
    path = getenv("PATH");
    return join_path(path ? path : _PATH_STDPATH, name);
}

/* sh, a place for the script, and its arguments: nothing but the array is owned. */
static char **make_shell_argv(char **argv)
{
    size_t n = 0;
    char **shell;

    while (argv[n])
        n++;
    shell = calloc(n + 2, sizeof(*shell));
    if (!shell)
        return NULL;
    shell[0] = (char *)_PATH_BSHELL;
    memcpy(shell + 2, argv + 1, n * sizeof(*argv));
    return shell;
}

static int copy_descriptors(struct spawn_plan *plan, const ptraced_spawn_options *o)
{
    if (o->terminal >= 0) {
        plan->terminal = fd_copy_away(o->terminal);
        if (plan->terminal < 0)
            return plan->terminal;
    }
    for (int i = 0; i < 3; i++) {
        int fd = o->stdio[i] >= 0 ? o->stdio[i] : o->terminal;

        if (fd < 0)
            continue;
        plan->stdio[i] = fd_copy_away(fd);
        if (plan->stdio[i] < 0)
            return plan->stdio[i];
    }
    return 0;
}

/* The caller's terminal, where the caller itself has its foreground to give. */
static int open_foreground(struct spawn_plan *plan)
{
    _cleanup_close_fd_ int fd = open(_PATH_TTY, O_RDWR | O_CLOEXEC | O_NOCTTY);
    int r;

    if (fd < 0 || tcgetpgrp(fd) != getpgrp())
        return 0;
    r = fd_move_away(&fd);
    if (r >= 0)
        plan->foreground = TAKE_FD(fd);
    return r;
}

static int open_pair(struct spawn_plan *plan)
{
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    plan->parent_end = pair[0];
    plan->child_end = pair[1];
    r = fd_move_away(&plan->parent_end);
    return r < 0 ? r : fd_move_away(&plan->child_end);
}

int spawn_plan_make(struct spawn_plan *plan, const ptraced_spawn_options *o, pid_t tracer)
{
    int r;

    plan->options = o;
    plan->environment = o->environment ? o->environment : environ;
    plan->tracer = tracer;
    plan->candidates = find_candidates(o->argv[0]);
    plan->shell_argv = make_shell_argv(o->argv);
    if (!plan->candidates || !plan->shell_argv)
        return -ENOMEM;
    r = copy_descriptors(plan, o);
    if (r < 0)
        return r;
    if (o->foreground && o->terminal < 0) {
        r = open_foreground(plan);
        if (r < 0)
            return r;
    }
    return open_pair(plan);
}

void spawn_plan_done(struct spawn_plan *plan)
{
    bus_api_closep(&plan->terminal);
    bus_api_closep(&plan->foreground);
    bus_api_closep(&plan->parent_end);
    bus_api_closep(&plan->child_end);
    for (int i = 0; i < 3; i++)
        bus_api_closep(&plan->stdio[i]);
    strv_free(plan->candidates);
    free(plan->shell_argv);
}
