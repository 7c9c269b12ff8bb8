/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/report.h"
#include "client/ctl/verbs.h"

static int open_transport(struct context *c, enum ptraced_transport transport)
{
    switch (transport) {
    case PTRACED_TRANSPORT_SYSTEM:
        return ptraced_open_system(&c->connection);
    case PTRACED_TRANSPORT_USER:
        return ptraced_open_user(&c->connection);
    case PTRACED_TRANSPORT_EMBEDDED:
        return ptraced_open_embedded(&c->connection);
    case PTRACED_TRANSPORT_REMOTE:
        return ptraced_open_remote(&c->connection, c->options.host);
    case PTRACED_TRANSPORT_MACHINE:
        return ptraced_open_machine(&c->connection, c->options.host);
    default:
        return -EOPNOTSUPP; /* no option asks for another */
    }
}

static int open_and_ping(struct context *c, enum ptraced_transport transport)
{
    int r;

    r = open_transport(c, transport);
    if (r < 0)
        return r;
    return ptraced_ping(c->connection);
}

/* Why nothing answers, in a few words. The library's own sentence comes first. */
static const char *reason(struct context *c, int r)
{
    const char *message = NULL;

    if (c->connection)
        ptraced_get_error(c->connection, NULL, &message);
    if (message && *message)
        return message;
    switch (r) {
    case -ENOMEDIUM: /* of sd_bus_open_user() */
        return "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where that bus is";
    case -EHOSTDOWN: /* of sd_bus_open_system_machine() */
        return "no container of that name runs";
    case -ENOENT:
    case -ECONNREFUSED:
        return c->connection ? strerror(-r) : "no bus is running";
    case -EHOSTUNREACH:
        return "it is not installed, or it failed to start";
    default:
        return strerror(-r);
    }
}

static int open_embedded(struct context *c)
{
    int r;

    r = open_and_ping(c, PTRACED_TRANSPORT_EMBEDDED);
    if (r == -ENOENT) {
        report_error("Cannot find the programs ptraced, ptraced-keeper and ptraced-tracer: is "
                     "ptraced installed, or ptracectl moved out of its build tree?");
        return CTL_UNREACHABLE;
    }
    if (r < 0) {
        report_failure(c, r, 0, "Failed to start a broker of its own");
        return CTL_UNREACHABLE;
    }
    return CTL_OK;
}

/* A service that is there and refuses is not one that is absent: to go on without it would trace
 * with other rights than its policy gives. */
static int fail_refused(struct context *c, int r)
{
    return report_failure(c, r, 0, "The service refuses you");
}

static int open_automatic(struct context *c)
{
    int r;

    r = open_and_ping(c, PTRACED_TRANSPORT_SYSTEM);
    if (r >= 0)
        return CTL_OK;
    if (r == -EACCES || r == -EPERM)
        return fail_refused(c, r);
    if (!c->verb->embedded || c->options.session) {
        report_error("The system service does not answer (%s), and '%s' works on the sessions "
                     "that it holds.",
                     reason(c, r), c->verb->name);
        if (c->verb->id == VERB_ATTACH)
            report_error("'ptracectl events -p PID' traces without it, for as long as it follows.");
        return CTL_UNREACHABLE;
    }
    report_notice(&c->options,
                  "the system service does not answer (%s); tracing with a broker of its own "
                  "(--embedded)",
                  reason(c, r));
    c->connection = ptraced_unref(c->connection);
    return open_embedded(c);
}

static const char *transport_noun(const struct options *o)
{
    switch (o->transport) {
    case PTRACED_TRANSPORT_USER:
        return "the service on your session bus";
    case PTRACED_TRANSPORT_REMOTE:
    case PTRACED_TRANSPORT_MACHINE:
        return "the service of ";
    default:
        return "the system service";
    }
}

static int open_given(struct context *c)
{
    const struct options *o = &c->options;
    int r;

    if (o->transport == PTRACED_TRANSPORT_EMBEDDED)
        return open_embedded(c);
    r = open_and_ping(c, o->transport);
    if (r >= 0)
        return CTL_OK;
    if (r == -EACCES || r == -EPERM)
        return fail_refused(c, r);
    report_error("Cannot reach %s%s: %s", transport_noun(o), o->host ? o->host : "", reason(c, r));
    return CTL_UNREACHABLE;
}

/* Sessions of embedded mode end with the command that made them. */
static int check_embedded(const struct context *c)
{
    const struct options *o = &c->options;

    if (!o->transport_given || o->transport != PTRACED_TRANSPORT_EMBEDDED)
        return CTL_OK;
    if (c->verb->id == VERB_ATTACH)
        return report_usage("Embedded mode has nothing that would hold a session when 'attach' "
                            "ends. Use 'ptracectl --embedded events -p PID'.");
    if (!c->verb->embedded || o->session)
        return report_usage("'%s' works on sessions that a service holds. In embedded mode each "
                            "command has a broker of its own: leave --embedded out.",
                            c->verb->name);
    return CTL_OK;
}

int context_connect(struct context *c)
{
    int r;

    r = check_embedded(c);
    if (r != CTL_OK)
        return r;
    return c->options.transport_given ? open_given(c) : open_automatic(c);
}

void context_done(struct context *c)
{
    c->connection = ptraced_unref(c->connection);
    options_done(&c->options);
}
