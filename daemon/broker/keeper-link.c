/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bus-api/errors.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "daemon/broker/adopt.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/keeper-link.h"

#define OTHER_TEXT                                                                                 \
    "The keeper of the tracers is of another version of ptraced; what it traces is released, and " \
    "it ends: try again in some seconds"
#define STUCK_TEXT                                                                                 \
    "The keeper of the tracers is of another version of ptraced, and does not know how to make "   \
    "room; restart ptraced-keeper.service, which releases what it traces"
#define GONE_TEXT "The keeper of the tracers has ended; try again"

static struct keeper_link *keeper_of(struct wire *w)
{
    return LIST_ITEM(w, struct keeper_link, wire);
}

static void keeper_no_answer(struct wire *w, bool timed_out, pid_t about, sd_bus_error *error)
{
    if (timed_out)
        sd_bus_error_set(error, PTRACED_ERROR_TIMED_OUT,
                         "The keeper of the tracers does not answer; try again");
    else
        sd_bus_error_set(error, PTRACED_ERROR_TRACER_GONE, GONE_TEXT);
}

static void keeper_settled(struct wire *w)
{
    /* A call that the end of the connection has answered tells nothing. */
    if (wire_is_ready(w))
        keeper_of(w)->was_ready = true;
}

static int keeper_connect(struct keeper_link *k);

static void keeper_gone(struct wire *w)
{
    struct keeper_link *k = keeper_of(w);
    struct broker *b = k->broker;
    bool was_ready = k->was_ready;
    int r;

    wire_close(w);
    k->was_ready = k->is_other = k->is_stuck = false;
    if (!k->path) {
        log_error(&b->log, "The keeper has ended, so this service ends too");
        sd_event_exit(b->event, -ECONNRESET);
        return;
    }

    /* One that goes as soon as it has come would keep us busy for ever. */
    r = was_ready ? keeper_connect(k) : -ECONNRESET;
    if (r < 0) {
        log_warning(&b->log, "The keeper has ended; looking for it again when it is needed");
        return;
    }
    log_warning(&b->log, "The keeper has ended; connected to it anew");
    adopt_missed(b);
}

static const struct wire_ops keeper_ops = {
    .no_answer = keeper_no_answer,
    .settled = keeper_settled,
    .gone = keeper_gone,
};

/* connect() to a local socket does not wait: with SOCK_NONBLOCK a full backlog is EAGAIN. */
static int keeper_connect(struct keeper_link *k)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_fd_ int fd = -1;

    if (strlen(k->path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, k->path);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return wire_open(&k->wire, k->broker->event, TAKE_FD(fd), &keeper_ops);
}

int keeper_link_open_fd(struct keeper_link *k, struct broker *b, int fd)
{
    k->broker = b;
    return wire_open(&k->wire, b->event, fd, &keeper_ops);
}

int keeper_link_open_path(struct keeper_link *k, struct broker *b, const char *path)
{
    int r;

    k->broker = b;
    k->path = strdup(path);
    if (!k->path)
        return -ENOMEM;
    r = keeper_connect(k);
    if (r < 0)
        log_warning(&b->log, "No keeper answers at %s: %s; looking again when it is needed", path,
                    strerror(-r));
    return 0;
}

void keeper_link_close(struct keeper_link *k)
{
    wire_close(&k->wire);
    free(k->path);
    k->path = NULL;
}

int keeper_link_new_call(struct keeper_link *k, const char *member, sd_bus_message **ret,
                         sd_bus_error *error)
{
    int r;

    if (!k->wire.bus) {
        r = k->path ? keeper_connect(k) : -ENOTCONN;
        if (r < 0)
            return sd_bus_error_setf(error, PTRACED_ERROR_TRACER_GONE,
                                     "The keeper of the tracers cannot be reached: %s; see whether "
                                     "ptraced-keeper is running",
                                     strerror(-r));
    }
    if (k->is_other)
        return sd_bus_error_set(error, PTRACED_ERROR_TRACER_GONE,
                                k->is_stuck ? STUCK_TEXT : OTHER_TEXT);
    adopt_missed(k->broker);
    return sd_bus_message_new_method_call(k->wire.bus, ret, NULL, PTRACED_KEEPER_PATH,
                                          PTRACED_KEEPER_INTERFACE, member);
}

int keeper_link_call(struct keeper_link *k, sd_bus_message *m, wire_reply_t callback,
                     void *userdata, sd_bus_error *error)
{
    int r;

    r = wire_call(&k->wire, m, k->broker->tracer_timeout_usec, 0, callback, userdata);
    if (r == -ENOTCONN)
        return sd_bus_error_set(error, PTRACED_ERROR_TRACER_GONE, GONE_TEXT);
    return r;
}

static void on_retired(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct keeper_link *k = userdata;

    if (!error || !k->wire.bus) /* or it has ended */
        return;
    k->is_stuck = true;
    log_error(&k->broker->log, STUCK_TEXT " (%s)", error->message);
}

void keeper_link_retire(struct keeper_link *k)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    log_warning(&k->broker->log, OTHER_TEXT);
    k->is_other = true;
    r = sd_bus_message_new_method_call(k->wire.bus, &m, NULL, PTRACED_KEEPER_PATH,
                                       PTRACED_RETIRE_INTERFACE, "Retire");
    if (r >= 0)
        r = wire_call(&k->wire, m, WIRE_NO_TIMEOUT, 0, on_retired, k);
    if (r < 0)
        log_warning(&k->broker->log, "Cannot tell the keeper to end: %s", strerror(-r));
}

struct ending {
    struct broker *broker;
    pid_t tracer;
};

static void on_tracer_ended(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_free_string_ struct ending *e = userdata;

    if (error)
        log_warning(&e->broker->log, "Tracer %d could not be ended: %s", e->tracer, error->message);
}

static int end_tracer(struct keeper_link *k, pid_t tracer)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    _cleanup_free_string_ struct ending *e = NULL;
    int r;

    e = malloc(sizeof(*e));
    if (!e)
        return -ENOMEM;
    *e = (struct ending){.broker = k->broker, .tracer = tracer};

    r = keeper_link_new_call(k, "EndTracer", &m, NULL);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "u", (uint32_t)tracer);
    if (r < 0)
        return r;
    r = keeper_link_call(k, m, on_tracer_ended, e, NULL);
    if (r < 0)
        return r;
    TAKE_PTR(e);
    return 0;
}

void keeper_link_end_tracer(struct keeper_link *k, pid_t tracer)
{
    int r;

    log_warning(&k->broker->log, "Tracer %d does not answer; having it ended", tracer);
    r = end_tracer(k, tracer);
    if (r < 0)
        log_warning(&k->broker->log, "Tracer %d could not be ended: %s", tracer, strerror(-r));
}
