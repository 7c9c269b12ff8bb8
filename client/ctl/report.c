/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/advice.h"
#include "client/ctl/context.h"
#include "client/ctl/exit-code.h"
#include "client/ctl/report.h"
#include "client/ctl/text.h"
#include "client/ctl/verbs.h"

/* One write for one line, so that it isn't mixed with what a traced program writes meanwhile. */
static void put_line(const char *text)
{
    _cleanup_free_ char *line = NULL;

    if (asprintf(&line, "ptracectl: %s\n", text) < 0) {
        line = NULL;
        return;
    }
    text_make_printable(line, strlen(line) - 1);
    fputs(line, stderr);
}

static void put_formatted(const char *format, va_list ap) _printf_(1, 0);

static void put_formatted(const char *format, va_list ap)
{
    _cleanup_free_ char *text = NULL;

    if (vasprintf(&text, format, ap) < 0) {
        text = NULL;
        put_line(strerror(ENOMEM));
        return;
    }
    put_line(text);
}

void report_error(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    put_formatted(format, ap);
    va_end(ap);
}

void report_notice(const struct options *o, const char *format, ...)
{
    va_list ap;

    if (o->quiet)
        return;
    va_start(ap, format);
    put_formatted(format, ap);
    va_end(ap);
}

int report_usage(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    put_formatted(format, ap);
    va_end(ap);
    put_line("'ptracectl --help' says more.");
    return CTL_USAGE;
}

int report_no_memory(void)
{
    put_line(strerror(ENOMEM));
    return CTL_FAILURE;
}

/* The sentences of the service and of the library say themselves what failed; those of sd-bus and
 * of the bus don't. */
static bool is_whole(const char *name)
{
    return !name || strncmp(name, "org.ptraced.", strlen("org.ptraced.")) == 0;
}

static void put_advice(struct context *c, int r, pid_t pid, const char *name, const char *said)
{
    enum ptraced_transport transport =
        c->connection ? ptraced_get_transport(c->connection) : c->options.transport;
    bool local = transport != PTRACED_TRANSPORT_REMOTE && transport != PTRACED_TRANSPORT_MACHINE;
    /* A refusal without a name is the kernel's, and would be the same in embedded mode. */
    bool embedded = name && c->verb->embedded && local && transport != PTRACED_TRANSPORT_EMBEDDED;
    _cleanup_free_ char *advice = advice_for(r, said, pid, local, embedded);

    if (advice)
        put_line(advice);
}

int report_failure(struct context *c, int r, pid_t pid, const char *format, ...)
{
    const char *name = NULL, *message = NULL;
    _cleanup_free_ char *what = NULL, *said = NULL;
    va_list ap;
    int n;

    if (c->connection)
        ptraced_get_error(c->connection, &name, &message);

    va_start(ap, format);
    n = vasprintf(&what, format, ap);
    va_end(ap);
    if (n < 0) {
        what = NULL;
        return report_no_memory();
    }
    if (message && *message && is_whole(name))
        said = strdup(message);
    else if (asprintf(&said, "%s: %s", what, message && *message ? message : strerror(-r)) < 0)
        said = NULL;
    if (!said)
        return report_no_memory();
    put_line(said);
    put_advice(c, r, pid, name, said);
    return exit_code_of(r);
}

int exit_code_of(int r)
{
    switch (r) {
    case -ESRCH:
    case -EUNATCH:
    case -ENXIO:
        return CTL_NOT_FOUND;
    case -EPERM:
    case -EACCES:
        return CTL_NOT_PERMITTED;
    case -EBUSY:
        return CTL_ALREADY_TRACED;
    case -EHOSTUNREACH:
    case -ENOTCONN:
    case -ECONNRESET:
    case -ECONNREFUSED:
    case -EPIPE:
        return CTL_UNREACHABLE;
    case -ETIMEDOUT:
        return CTL_TIMED_OUT;
    default:
        return CTL_FAILURE;
    }
}
