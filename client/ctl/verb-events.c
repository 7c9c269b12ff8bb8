/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "client/ctl/agent.h"
#include "client/ctl/attach.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/follow.h"
#include "client/ctl/lookup.h"
#include "client/ctl/macro.h"
#include "client/ctl/output.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, 0};
#define END_SIGNALS (SIGNAL_BIT(SIGINT) | SIGNAL_BIT(SIGTERM) | SIGNAL_BIT(SIGHUP))

static int check_options(const struct options *o)
{
    if (o->session && o->n_pids > 0)
        return report_usage("Either -p or -s, not both.");
    if (!o->session && o->n_pids == 0)
        return report_usage("Whose events? ptracectl events -p PID, or -s SESSION");
    if (o->session && (o->follow || o->stops || o->threads != PTRACED_FOLLOW_DEFAULT))
        return report_usage("-f, --stops and --threads are for attaching, with -p. What session %s "
                            "traces has been attached.",
                            o->session);
    return CTL_OK;
}

static int attach_each(struct context *c, struct follow *f)
{
    const struct options *o = &c->options;
    struct attach attach;
    int r;

    attach_init(&attach, o, follow_kinds(o->events, o->follow));
    for (size_t i = 0; i < o->n_pids; i++) {
        if (live_has(&f->live, o->pids[i]))
            continue;
        r = ptraced_attach(f->session, o->pids[i], &attach.options);
        if (r < 0)
            return report_failure(c, r, o->pids[i], "Failed to attach to process %d", o->pids[i]);
        if (live_add(&f->live, o->pids[i]) < 0)
            return report_no_memory();
    }
    return CTL_OK;
}

static int attach_all(struct context *c, struct follow *f)
{
    int r;

    agent_open(c, c->options.pids, c->options.n_pids);
    r = attach_each(c, f);
    agent_close();
    return r;
}

/* Makes a session of its own and attaches, or joins the session of -s. */
static int start(struct context *c, struct follow *f)
{
    const struct options *o = &c->options;
    int r;

    f->until_closed = o->session;
    if (o->session)
        return lookup_session_events(c, o->session, &f->session);
    /* What would stop could be continued by nobody: the session ends with this command, and
     * nobody else reaches its broker. */
    if (o->stops && ptraced_get_transport(c->connection) == PTRACED_TRANSPORT_EMBEDDED)
        return report_usage("--stops needs the system service: in embedded mode nobody could "
                            "continue what stops.");
    r = ptraced_session_new(c->connection, NULL, 0, &f->session);
    if (r < 0)
        return report_failure(c, r, 0, "Failed to make a session");
    return attach_all(c, f);
}

static int follow_to_end(struct context *c, struct follow *f)
{
    int r;

    r = start(c, f);
    if (r != CTL_OK)
        return r;
    /* Up to here Ctrl-C ends ptracectl at once, and the service lets go of what it has attached. */
    r = signals_open(f->signals, caught);
    if (r < 0) {
        report_error("Failed to catch signals: %s", strerror(-r));
        return CTL_FAILURE;
    }
    r = follow(f);
    if (r < 0 && f->output_failed) {
        report_error("Failed to write events: %s", strerror(-r));
        return CTL_FAILURE;
    }
    if (r < 0)
        return report_failure(c, r, 0, "Lost the connection to the service");
    if (f->closed)
        report_notice(&c->options, "The session has ended.");
    follow_report_lost(f, &c->options);
    if (!f->lost)
        return CTL_OK;
    report_error("Not everything was followed to its end; the events 'lost' say why.");
    return CTL_FAILURE;
}

/* A session of its own is ended in order, so that what it traces runs on before ptracectl exits
 * and not some time after. */
static void leave(struct follow *f)
{
    if (f->session && !f->until_closed && !f->closed)
        ptraced_session_close(f->session);
    f->session = ptraced_session_unref(f->session);
    follow_done(f);
}

static int open_and_follow(struct context *c, FILE *out)
{
    struct event_printer printer;
    struct signals signals = SIGNALS_NONE;
    struct follow f = {
        .printer = &printer,
        .signals = &signals,
        .end_signals = END_SIGNALS,
        .show = c->options.events,
        .lines = c->options.lines,
        .children = c->options.follow,
        .watch_reader = true,
    };
    int r;

    event_printer_init(&printer, out, c->options.json);
    r = follow_to_end(c, &f);
    leave(&f);
    signals_close(&signals);
    return r;
}

int verb_events(struct context *c, int n_arguments, char **arguments)
{
    FILE *out = NULL;
    int r, closed;

    r = check_options(&c->options);
    if (r == CTL_OK)
        r = context_connect(c);
    if (r != CTL_OK)
        return r;
    r = output_open(c->options.output, stdout, &out);
    if (r < 0) {
        report_error("Failed to open %s: %s", c->options.output ?: "standard output", strerror(-r));
        return CTL_FAILURE;
    }
    r = open_and_follow(c, out);
    closed = output_close(out);
    if (closed < 0 && r == CTL_OK) {
        report_error("Failed to write events: %s", strerror(-closed));
        return CTL_FAILURE;
    }
    return r;
}
