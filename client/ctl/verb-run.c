/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "bus-api/escape.h"
#include "client/ctl/agent.h"
#include "client/ctl/attach.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/follow.h"
#include "client/ctl/macro.h"
#include "client/ctl/output.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

/* What comes from the terminal is for the program, which has it too: ptracectl lives as long as
 * the program does. */
static const int caught[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD, 0};

#define NAME_LENGTH 63u /* of the session's name, before it is escaped */
#define END_SIGNALS (SIGNAL_BIT(SIGTERM) | SIGNAL_BIT(SIGHUP))

/* The service's failures have a name; without one it was exec's. */
static int exit_code_of_spawn(struct context *c, int r)
{
    const char *name = NULL;

    ptraced_get_error(c->connection, &name, NULL);
    if (name)
        return CTL_RUN_FAILED;
    switch (r) {
    case -ENOENT:
        return CTL_RUN_NOT_FOUND;
    case -EACCES:
    case -ENOEXEC:
    case -EISDIR:
    case -ELOOP:
    case -ENOTDIR:
    case -ELIBBAD:
    case -ETXTBSY:
        return CTL_RUN_CANNOT_EXECUTE;
    default:
        return CTL_RUN_FAILED;
    }
}

static int spawn(struct context *c, struct follow *f, char *const argv[])
{
    _cleanup_(ptraced_spawn_options_freep) ptraced_spawn_options *o = NULL;
    struct attach attach;
    int r, code;

    attach_init(&attach, &c->options, follow_kinds(c->options.events, c->options.follow));
    r = ptraced_spawn_options_new(&o);
    if (r >= 0)
        r = ptraced_spawn_options_set_argv(o, argv);
    if (r >= 0)
        r = ptraced_spawn_options_set_attach(o, &attach.options);
    if (r < 0) {
        report_no_memory();
        return CTL_RUN_FAILED;
    }
    agent_open(c, NULL, 0);
    r = ptraced_spawn(f->session, o, &f->program);
    agent_close();
    if (r < 0) {
        code = exit_code_of_spawn(c, r);
        report_failure(c, r, 0, "Failed to start '%s'", argv[0]);
        return code;
    }
    if (live_add(&f->live, f->program) < 0) {
        report_no_memory();
        return CTL_RUN_FAILED;
    }
    return CTL_OK;
}

/* The trace has failed, but not the program: its end is waited for all the same. */
static int fail_and_wait(struct context *c, struct follow *f, int error)
{
    if (f->output_failed)
        report_error("Failed to write events: %s", strerror(-error));
    else
        report_failure(c, error, 0, "Lost the connection to the service");
    if (f->program != 0)
        report_notice(&c->options, "Process %d runs on untraced; waiting for its end.", f->program);
    ptraced_session_close(f->session);
    (void)follow_program(f);
    return CTL_RUN_FAILED;
}

static int exit_code_of_program(const struct follow *f)
{
    if (WIFSIGNALED(f->wait_status))
        return CTL_SIGNAL_BASE + WTERMSIG(f->wait_status);
    return WEXITSTATUS(f->wait_status);
}

/* Named after the program, in lists that others read. */
static int open_session(struct context *c, struct follow *f, const char *program)
{
    const char *base = strrchr(program, '/');
    _cleanup_free_ char *name = NULL;
    int r;

    base = base ? base + 1 : program;
    name = ptraced_escape(base, strnlen(base, NAME_LENGTH));
    if (!name) {
        report_no_memory();
        return CTL_RUN_FAILED;
    }
    r = ptraced_session_new(c->connection, name, 0, &f->session);
    if (r < 0) {
        report_failure(c, r, 0, "Failed to make a session");
        return CTL_RUN_FAILED;
    }
    return CTL_OK;
}

static int follow_to_end(struct context *c, struct follow *f, char *const argv[])
{
    int r, code;

    code = open_session(c, f, argv[0]);
    if (code != CTL_OK)
        return code;
    code = spawn(c, f, argv);
    if (code != CTL_OK)
        return code;
    r = follow(f);
    if (r < 0)
        code = fail_and_wait(c, f, r);
    if (f->signal != 0) {
        /* It runs on, in order: let go before ptracectl exits. */
        ptraced_session_close(f->session);
        if (f->program != 0)
            report_notice(&c->options, "Detached; process %d runs on.", f->program);
        return CTL_SIGNAL_BASE + f->signal;
    }
    if (code != CTL_OK)
        return code;
    if (f->closed)
        report_notice(&c->options, "The session was closed before the program ended.");
    follow_report_lost(f, &c->options);
    return exit_code_of_program(f);
}

static int open_and_follow(struct context *c, FILE *out, char *const argv[])
{
    struct event_printer printer;
    struct signals signals;
    struct follow f = {
        .printer = &printer,
        .signals = &signals,
        .end_signals = END_SIGNALS,
        .show = c->options.events,
        .children = c->options.follow,
    };
    int r;

    event_printer_init(&printer, out, c->options.json);
    r = signals_open(&signals, caught);
    if (r < 0) {
        report_error("Failed to catch signals: %s", strerror(-r));
        return CTL_RUN_FAILED;
    }
    r = follow_to_end(c, &f, argv);
    f.session = ptraced_session_unref(f.session);
    follow_done(&f);
    signals_close(&signals);
    return r;
}

int verb_run(struct context *c, int n_arguments, char **arguments)
{
    const struct options *o = &c->options;
    FILE *out = NULL;
    int r, closed;

    if (o->host) {
        report_usage("'run' starts the program here, where the service of %s cannot trace it.",
                     o->host);
        return CTL_RUN_FAILED;
    }
    if (context_connect(c) != CTL_OK)
        return CTL_RUN_FAILED;
    r = output_open(o->output, stderr, &out);
    if (r < 0) {
        report_error("Failed to open %s: %s", o->output ?: "standard error", strerror(-r));
        return CTL_RUN_FAILED;
    }
    r = open_and_follow(c, out, arguments);
    closed = output_close(out);
    if (closed < 0 && r != CTL_RUN_FAILED) {
        report_error("Failed to write events: %s", strerror(-closed));
        return CTL_RUN_FAILED;
    }
    return r;
}
