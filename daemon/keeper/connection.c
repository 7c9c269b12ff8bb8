/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-id128.h>

#include "bus-api/macro.h"
#include "daemon/keeper/connection.h"
#include "daemon/keeper/log.h"
#include "daemon/trace/pidref.h"

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    release_broker_gone(userdata);
    return 0;
}

/* The serving end of a peer-to-peer connection. Who is at the other end was settled before, so
 * everything on it is trusted. */
static int new_bus(struct keeper *k, int *fd, sd_bus **ret)
{
    _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
    sd_id128_t id;
    int r;

    r = sd_bus_new(&bus);
    if (r < 0)
        return r;
    r = sd_id128_randomize(&id);
    if (r < 0)
        return r;
    r = sd_bus_set_fd(bus, *fd, *fd);
    if (r < 0)
        return r;
    *fd = -1;
    r = sd_bus_set_server(bus, 1, id);
    if (r >= 0)
        r = sd_bus_set_anonymous(bus, 1);
    if (r >= 0)
        r = sd_bus_set_trusted(bus, 1);
    if (r >= 0)
        r = sd_bus_negotiate_fds(bus, 1);
    if (r >= 0) /* at our end nobody waits for a broker that hangs to read everything */
        r = sd_bus_set_close_on_exit(bus, 0);
    if (r >= 0)
        r = keeper_bus_add_object(k, bus);
    if (r >= 0)
        r = sd_bus_match_signal(bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, k);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r >= 0)
        r = sd_bus_attach_event(bus, k->event, SD_EVENT_PRIORITY_NORMAL);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(bus);
    return 0;
}

int connection_serve(struct keeper *k, int fd)
{
    _cleanup_close_fd_ int owned = fd;
    int r = new_bus(k, &owned, &k->bus);

    if (r < 0)
        return r;
    k->bus_fd = fd;
    release_broker_came(k);
    return 0;
}

void connection_drop(struct keeper *k)
{
    k->bus = sd_bus_close_unref(k->bus);
    k->bus_fd = -1;
    pidref_done(&k->broker);
}

void connection_close(struct keeper *k)
{
    connection_drop(k);
    k->listen = sd_event_source_disable_unref(k->listen);
    if (k->listen_fd >= 0)
        close(TAKE_FD(k->listen_fd));
    if (k->listen_path)
        (void)unlink(k->listen_path);
    free(k->listen_path);
    k->listen_path = NULL;
}

/* A broker that was restarted may connect before the end of the old one's socket was read. */
static bool broker_has_left(const struct keeper *k)
{
    struct pollfd p = {.fd = k->bus_fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static int admit(struct keeper *k, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    if (peer.uid != 0 && peer.uid != geteuid() && peer.uid != k->broker_uid) {
        log_warning("Refused process %d of user %u, which is not the broker's", peer.pid, peer.uid);
        return -EACCES;
    }
    if (k->bus && broker_has_left(k))
        release_broker_gone(k);
    if (k->bus) {
        log_warning("Refused broker %d: broker %d is connected", peer.pid, k->broker.pid);
        return -EBUSY;
    }
    if (pidref_open(peer.pid, &k->broker) < 0)
        k->broker = PIDREF_NULL;
    return 0;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t events, void *userdata)
{
    struct keeper *k = userdata;
    _cleanup_close_fd_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int r;

    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            log_error("Cannot accept a broker: %s", strerror(errno));
        return 0;
    }
    if (k->exiting || admit(k, fd) < 0)
        return 0;
    r = connection_serve(k, TAKE_FD(fd));
    if (r < 0) {
        if (r != -ECONNRESET && r != -EPIPE) /* it has left again */
            log_error("Cannot serve broker %d: %s", k->broker.pid, strerror(-r));
        connection_drop(k);
    }
    return 0;
}

int connection_listen_fd(struct keeper *k, int fd)
{
    int r = sd_event_add_io(k->event, &k->listen, fd, EPOLLIN, on_connection, k);

    if (r < 0)
        return r;
    k->listen_fd = fd;
    /* Bounds what somebody can cost who connects again and again, and a failing accept(). */
    return sd_event_source_set_ratelimit(k->listen, USEC_PER_SEC, 50);
}

/* Whether whoever listens at the other end of a connection has ended. A child that it forked may
 * have the socket still, for the moment until it closes it; but it serves nobody. The pid is the
 * one that called listen() (SO_PEERCRED, unix(7)). */
static bool listener_has_ended(int connected_fd)
{
    struct ucred listener;
    socklen_t size = sizeof(listener);
    struct pidref process;
    struct pollfd ended = {.events = POLLIN};
    int n;

    if (getsockopt(connected_fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) < 0 ||
        listener.pid <= 0) /* it is in a pid namespace that is not ours */
        return false;
    n = pidref_open(listener.pid, &process);
    if (n < 0)
        return n == -ESRCH;
    ended.fd = process.fd;
    n = poll(&ended, 1, 0);
    pidref_done(&process);
    return n > 0; /* a zombie, too */
}

/* A socket that nobody listens on is left over from a keeper that was killed. */
static void remove_stale(const struct sockaddr_un *address)
{
    _cleanup_close_fd_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;
    bool stale;

    if (probe < 0 || lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) < 0)
        stale = errno == ECONNREFUSED;
    else
        stale = listener_has_ended(probe);
    if (stale)
        (void)unlink(address->sun_path);
}

int connection_listen_path(struct keeper *k, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_fd_ int fd = -1;
    mode_t mask;
    int r;

    if (path[0] != '/' || strlen(path) >= sizeof(address.sun_path))
        return -EINVAL;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    remove_stale(&address);

    mask = umask(0177);
    r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (r < 0)
        return r;
    if (k->broker_uid != KEEPER_NO_UID && chown(path, k->broker_uid, (gid_t)-1) < 0)
        log_warning("Cannot give %s to the broker's user, ignoring: %s", path, strerror(errno));
    if (listen(fd, SOMAXCONN) < 0)
        return -errno;
    r = connection_listen_fd(k, fd);
    if (r >= 0)
        fd = -1;
    return r;
}
