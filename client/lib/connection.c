/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

#include "bus-api/errors.h"
#include "bus-api/names.h"
#include "client/lib/internal.h"

/* At load, when there is one thread as a rule: sd-bus keeps the table for good and guards it by no
 * lock. For the same reason the library is linked never to be unloaded. */
__attribute__((constructor)) static void register_errors(void)
{
    ptraced_errors_register();
}

uint64_t now_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t usec_add(uint64_t a, uint64_t b)
{
    return a > USEC_INFINITY - b ? USEC_INFINITY : a + b;
}

static void connection_free(ptraced *p)
{
    /* Not flushed: every request has been answered, and a service that hangs must not hold us. */
    sd_bus_close_unref(p->bus);
    free(p->owner);
    free(p->version);
    free(p->error_name);
    free(p->error_message);
    free(p);
}

int connection_new(sd_bus *bus, enum ptraced_transport transport, bool on_bus, ptraced **ret)
{
    ptraced *p;
    int r;

    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->n_ref = 1;
    p->origin = getpid();
    p->transport = transport;
    p->on_bus = on_bus;
    p->absent_until = USEC_INFINITY;
    p->bus = bus;
    r = connection_watch_signals(p);
    if (r < 0) {
        p->bus = NULL;
        connection_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

static int open_bus(int r, sd_bus *opened, enum ptraced_transport transport, ptraced **ret)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = opened;

    if (r < 0)
        return r;
    r = connection_new(bus, transport, true, ret);
    if (r < 0)
        return r;
    TAKE_PTR(bus);
    return 0;
}

_public_ int ptraced_open_system(ptraced **ret)
{
    sd_bus *bus = NULL;
    int r = sd_bus_open_system(&bus);

    return open_bus(r, bus, PTRACED_TRANSPORT_SYSTEM, ret);
}

_public_ int ptraced_open_user(ptraced **ret)
{
    sd_bus *bus = NULL;
    int r = sd_bus_open_user(&bus);

    return open_bus(r, bus, PTRACED_TRANSPORT_USER, ret);
}

_public_ int ptraced_open_remote(ptraced **ret, const char *host)
{
    sd_bus *bus = NULL;
    int r = host ? sd_bus_open_system_remote(&bus, host) : -EINVAL;

    return open_bus(r, bus, PTRACED_TRANSPORT_REMOTE, ret);
}

_public_ int ptraced_open_machine(ptraced **ret, const char *machine)
{
    sd_bus *bus = NULL;
    int r = machine ? sd_bus_open_system_machine(&bus, machine) : -EINVAL;

    return open_bus(r, bus, PTRACED_TRANSPORT_MACHINE, ret);
}

static int start_on_address(const char *address, sd_bus **ret)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    int r;

    r = sd_bus_new(&bus);
    if (r < 0)
        return r;
    r = sd_bus_set_address(bus, address);
    if (r < 0)
        return r;
    r = sd_bus_set_bus_client(bus, true);
    if (r < 0)
        return r;
    r = sd_bus_negotiate_fds(bus, true);
    if (r < 0)
        return r;
    r = sd_bus_start(bus);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(bus);
    return 0;
}

_public_ int ptraced_open_address(ptraced **ret, const char *address)
{
    sd_bus *bus = NULL;
    int r = address ? start_on_address(address, &bus) : -EINVAL;

    return open_bus(r, bus, PTRACED_TRANSPORT_SYSTEM, ret);
}

static int start_on_fd(int socket_fd, sd_bus **ret)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    _cleanup_close_fd_ int fd = socket_fd;
    int r;

    r = sd_bus_new(&bus);
    if (r < 0)
        return r;
    r = sd_bus_set_fd(bus, fd, fd);
    if (r < 0)
        return r;
    TAKE_FD(fd);
    r = sd_bus_negotiate_fds(bus, true);
    if (r < 0)
        return r;
    r = sd_bus_start(bus);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(bus);
    return 0;
}

int connection_new_fd(int fd, enum ptraced_transport transport, ptraced **ret)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    int r;

    r = start_on_fd(fd, &bus);
    if (r < 0)
        return r;
    r = connection_new(bus, transport, false, ret);
    if (r < 0)
        return r;
    TAKE_PTR(bus);
    return 0;
}

_public_ int ptraced_open_fd(ptraced **ret, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    return copy < 0 ? -errno : connection_new_fd(copy, PTRACED_TRANSPORT_DIRECT, ret);
}

_public_ ptraced *ptraced_ref(ptraced *p)
{
    if (p)
        p->n_ref++;
    return p;
}

_public_ ptraced *ptraced_unref(ptraced *p)
{
    if (p && --p->n_ref == 0)
        connection_free(p);
    return NULL;
}

_public_ void ptraced_unrefp(ptraced **p)
{
    *p = ptraced_unref(*p);
}

_public_ int ptraced_set_interactive(ptraced *p, bool interactive)
{
    int r;

    if (!p)
        return -EINVAL;
    r = connection_check(p);
    if (r < 0)
        return r;
    p->interactive = interactive;
    return 0;
}

_public_ enum ptraced_transport ptraced_get_transport(ptraced *p)
{
    return p->transport;
}

/* Not Peer.Ping: what the service's D-Bus library answers by itself is not for everybody on the
 * system bus. */
_public_ int ptraced_ping(ptraced *p)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r = connection_check(p);

    return r < 0 ? r
                 : connection_get_property(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE,
                                           "Version", "s", &reply);
}

_public_ int ptraced_get_version(ptraced *p, const char **ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    const char *version;
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    if (!p->version) {
        r = connection_get_property(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "Version", "s",
                                    &reply);
        if (r < 0)
            return r;
        r = sd_bus_message_read(reply, "s", &version);
        if (r < 0)
            return connection_fail(p, r, "The version of the service cannot be read.");
        p->version = strdup(version);
        if (!p->version)
            return -ENOMEM;
    }
    *ret = p->version;
    return 0;
}

/* A session that came to nothing with its service; it cannot come back (SERVICE_ABSENT_USEC). */
static bool end_sessions_of_absent(ptraced *p)
{
    if (p->absent_until == USEC_INFINITY || now_usec() < p->absent_until)
        return false;
    p->absent_until = USEC_INFINITY;
    for (ptraced_session *s = p->sessions, *next; s; s = next) {
        next = s->next;
        session_end(s);
    }
    return true;
}

int connection_dispatch(ptraced *p)
{
    int r;

    if (p->is_lost)
        return -ECONNRESET;
    if (end_sessions_of_absent(p))
        return 1;
    r = sd_bus_process(p->bus, NULL);
    if (r < 0 && sd_bus_is_open(p->bus) <= 0) {
        p->is_lost = true;
        return -ECONNRESET;
    }
    return r;
}

int connection_wait(ptraced *p, uint64_t until)
{
    uint64_t now;
    int r;

    if (until > p->absent_until)
        until = p->absent_until;
    if (until == USEC_INFINITY)
        r = sd_bus_wait(p->bus, USEC_INFINITY);
    else {
        now = now_usec();
        r = sd_bus_wait(p->bus, until > now ? until - now : 0);
    }
    /* A connection that ended meanwhile says so in the next connection_dispatch(). */
    return r == -ENOTCONN ? 1 : r;
}

static bool is_full(ptraced *p)
{
    for (ptraced_session *s = p->sessions; s; s = s->next)
        if (s->n_events >= EVENTS_WAITING_MAX)
            return true;
    return false;
}

_public_ int ptraced_get_fd(ptraced *p)
{
    int r = connection_check(p);

    return r < 0 ? r : sd_bus_get_fd(p->bus);
}

_public_ int ptraced_get_events(ptraced *p)
{
    int r = connection_check(p);

    if (r < 0)
        return r;
    r = sd_bus_get_events(p->bus);
    return r > 0 && is_full(p) ? r & ~POLLIN : r;
}

_public_ int ptraced_get_timeout(ptraced *p, uint64_t *ret_usec)
{
    uint64_t usec = USEC_INFINITY;
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    if (!is_full(p)) {
        r = sd_bus_get_timeout(p->bus, &usec);
        if (r < 0)
            return r;
    }
    *ret_usec = usec < p->absent_until ? usec : p->absent_until;
    return 0;
}

_public_ int ptraced_process(ptraced *p)
{
    int r = connection_check(p);

    if (r < 0)
        return r;
    if (is_full(p))
        return 0;
    r = connection_dispatch(p);
    if (r == -ECONNRESET)
        return connection_fail(p, r, "The connection to the tracing service has ended.");
    return r;
}
