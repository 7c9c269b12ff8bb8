/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/adopt.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/configuration.h"
#include "daemon/broker/renew.h"
#include "daemon/broker/route.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracer-link.h"

/* What an embedded broker is started with. */
#define CLIENT_FD 3
#define KEEPER_FD 4

/* There is a socket for each tracer, and the soft limit is low for the sake of select(2), which is
 * not used here. */
static void raise_file_limit(struct broker *b)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_debug(&b->log, "Cannot raise the limit of open files, ignoring: %s", strerror(errno));
}

/* A terminal's Ctrl-C goes to the client's whole process group: an embedded broker leaves it to the
 * client, whose socket tells all that is to be known. */
static int add_signals(struct broker *b)
{
    sigset_t set;
    int r;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);

    r = sd_event_add_signal(b->event, NULL, SIGTERM, NULL, NULL);
    if (r < 0 || b->mode == BROKER_EMBEDDED)
        return r;
    return sd_event_add_signal(b->event, NULL, SIGINT, NULL, NULL);
}

/* A client may hold the id of a session that a broker before us had, and that no tracer tells of:
 * no id is given twice. Nobody makes a million sessions in a second, so the clock stays ahead, and
 * what was written down before the machine was started anew is not met again either, but by the
 * oddest chance. An embedded broker's ids end with its one client. */
static uint64_t first_session(enum broker_mode mode)
{
    struct timespec now;

    if (mode == BROKER_EMBEDDED || clock_gettime(CLOCK_BOOTTIME, &now) < 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int broker_init(struct broker *b)
{
    int r;

    list_init(&b->callers);
    list_init(&b->tracers);
    list_init(&b->attaches);
    list_init(&b->renewals);
    list_init(&b->questions);
    list_init(&b->flights);
    list_init(&b->gathers);
    kept_init(&b->kept, NULL);
    audit_users_init(&b->audit);
    log_init(&b->log, b->mode == BROKER_EMBEDDED ? LOG_ERR : LOG_INFO);
    if (b->mode != BROKER_EMBEDDED)
        config_read(&b->log, "");
    raise_file_limit(b);

    r = sd_event_new(&b->event);
    if (r < 0)
        return r;
    b->kept.event = b->event;
    r = sd_event_set_watchdog(b->event, true);
    if (r < 0)
        return r;
    r = add_signals(b);
    if (r < 0)
        return r;
    return stream_init(&b->stream, b);
}

int broker_new(const struct broker_options *options, struct broker **ret)
{
    struct broker *b;
    int r;

    b = malloc(sizeof(*b));
    if (!b)
        return -ENOMEM;
    *b = (struct broker){
        .mode = options->mode,
        .tracer_timeout_usec = options->tracer_timeout_usec,
        .idle.usec = options->mode == BROKER_EMBEDDED ? 0 : options->idle_exit_usec,
        .last_session = first_session(options->mode),
    };
    r = broker_init(b);
    if (r < 0) {
        broker_free(b);
        return r;
    }
    *ret = b;
    return 0;
}

/* The clients' connection first: that we end is not for us to answer what is under way with. Then
 * the others, whose end is an answer to that, while all else still is there. Nothing is closed at
 * the tracers: that is for the keeper, or for a broker after us. */
struct broker *broker_free(struct broker *b)
{
    if (!b)
        return NULL;
    if (b->bus)
        sd_bus_close(b->bus);
    attach_drop_questions(b);
    keeper_link_close(&b->keeper);
    renewals_drop(b);
    while (!list_empty(&b->tracers))
        tracer_free(LIST_FIRST(&b->tracers, struct tracer, tracers));
    while (b->sessions.n > 0)
        session_close(b->sessions.items[0].value, NULL);
    callers_done(b);
    audit_users_done(&b->audit);
    idle_done(b);
    kept_done(&b->kept);
    stream_done(&b->stream);
    index_done(&b->sessions);
    index_done(&b->tracees);
    sd_event_source_disable_unref(b->adopt_timer);
    sd_bus_unref(b->bus);
    sd_event_unref(b->event);
    free(b);
    return NULL;
}

void broker_freep(struct broker **b)
{
    broker_free(*b);
}

uint64_t broker_next_session(struct broker *b)
{
    return ++b->last_session;
}

/* ---- The clients' side ---- */

static int open_client(struct broker *b)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    sd_id128_t id;
    int r;

    r = sd_id128_randomize(&id);
    if (r < 0)
        return r;
    r = sd_bus_new(&bus);
    if (r < 0)
        return r;
    r = sd_bus_set_fd(bus, CLIENT_FD, CLIENT_FD);
    if (r < 0)
        return r;
    r = sd_bus_set_server(bus, true, id);
    if (r < 0)
        return r;
    r = sd_bus_set_anonymous(bus, true);
    if (r < 0)
        return r;
    r = sd_bus_set_trusted(bus, true);
    if (r < 0)
        return r;
    r = sd_bus_negotiate_fds(bus, true);
    if (r < 0)
        return r;
    b->bus = TAKE_PTR(bus);
    return 0;
}

static int open_bus(struct broker *b)
{
    switch (b->mode) {
    case BROKER_EMBEDDED:
        return open_client(b);
    case BROKER_SYSTEM:
        return sd_bus_open_system(&b->bus);
    case BROKER_USER:
        return sd_bus_open_user(&b->bus);
    }
    return -EINVAL;
}

/* The end of the client is the regular end of an embedded broker; that of a bus is none. */
static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct broker *b = userdata;

    if (b->mode != BROKER_EMBEDDED)
        log_error(&b->log, "The bus has closed the connection");
    return sd_event_exit(b->event, b->mode == BROKER_EMBEDDED ? 0 : -ECONNRESET);
}

static int add_objects(struct broker *b)
{
    int r;

    r = callers_start(b);
    if (r < 0)
        return r;
    r = route_add(b);
    if (r < 0)
        return r;
    r = objects_add(b);
    if (r < 0)
        return r;
    r = manager_bus_add(b);
    if (r < 0)
        return r;
    r = session_bus_add(b);
    if (r < 0)
        return r;
    return log_control_add(b);
}

static int start_bus(struct broker *b)
{
    int r;

    r = open_bus(b);
    if (r < 0) {
        log_error(&b->log, "Cannot connect to the %s: %s",
                  b->mode == BROKER_EMBEDDED ? "client" : "bus", strerror(-r));
        return r;
    }
    r = add_objects(b);
    if (r < 0)
        return r;
    r = sd_bus_match_signal_async(b->bus, NULL, "org.freedesktop.DBus.Local", NULL,
                                  "org.freedesktop.DBus.Local", "Disconnected", on_disconnected,
                                  NULL, b);
    if (r < 0)
        return r;
    return sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
}

/* ---- The start ---- */

int broker_start(struct broker *b, const char *keeper_path)
{
    int r;

    r = start_bus(b);
    if (r < 0)
        return r;
    if (b->mode == BROKER_EMBEDDED) {
        r = keeper_link_open_fd(&b->keeper, b, KEEPER_FD);
        if (r < 0)
            return r;
        b->serving = true;
        return sd_bus_start(b->bus);
    }
    r = keeper_link_open_path(&b->keeper, b, keeper_path);
    if (r < 0)
        return r;
    r = idle_start(b);
    if (r < 0)
        return r;
    return adopt_start(b);
}

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    enum { PRIMARY_OWNER = 1 };
    struct broker *b = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    uint32_t result;
    int r;

    r = error ? -sd_bus_message_get_errno(m) : sd_bus_message_read(m, "u", &result);
    if (r >= 0 && result != PRIMARY_OWNER)
        r = -EEXIST;
    if (r < 0) {
        log_error(&b->log, "Cannot take the name %s: %s", PTRACED_BUS_NAME,
                  error          ? error->message
                  : r == -EEXIST ? "another program has it"
                                 : strerror(-r));
        return sd_event_exit(b->event, r);
    }
    sd_notify(false, "READY=1");
    return 1;
}

void broker_serve(struct broker *b)
{
    int r;

    b->serving = true;
    /* Without SD_BUS_NAME_QUEUE: two brokers would be worse than none. */
    r = sd_bus_request_name_async(b->bus, NULL, PTRACED_BUS_NAME, 0, on_name, b);
    if (r < 0)
        sd_event_exit(b->event, r);
}

int broker_run(struct broker *b)
{
    int r;

    r = sd_event_loop(b->event);
    if (b->mode != BROKER_EMBEDDED)
        sd_notify(false, "STOPPING=1");
    return r;
}
