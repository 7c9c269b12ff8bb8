/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "bus-api/errors.h"
#include "config.h"
#include "daemon/keeper/connection.h"
#include "daemon/keeper/keeper.h"
#include "daemon/keeper/log.h"

/* Where the program that embeds us has put the broker's socket. */
#define EMBEDDED_BUS_FD 3

struct arguments {
    bool embedded;
    bool system;
    const char *listen; /* NULL: the socket comes from systemd */
};

static void help(void)
{
    printf("%s [OPTIONS...]\n\n"
           "Start and guard the tracers of ptraced. Not to be run by hand: systemd starts it for\n"
           "the service, and libptraced for embedded mode.\n\n"
           "     --system       Serve one broker after another on the socket from systemd\n"
           "     --listen=PATH  The same on a socket of its own\n"
           "     --embedded     Serve the one broker at descriptor 3\n"
           "  -h --help         Show this help\n"
           "     --version      Show the version\n",
           program_invocation_short_name);
}

/* 1: go on; 0: done already. */
static int parse_arguments(int argc, char *argv[], struct arguments *ret)
{
    enum { ARG_EMBEDDED = 256, ARG_SYSTEM, ARG_LISTEN, ARG_VERSION };
    static const struct option options[] = {
        {"embedded", no_argument, NULL, ARG_EMBEDDED},   {"system", no_argument, NULL, ARG_SYSTEM},
        {"listen", required_argument, NULL, ARG_LISTEN}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, ARG_VERSION},     {},
    };
    struct arguments a = {0};
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
        switch (c) {
        case ARG_EMBEDDED:
            a.embedded = true;
            break;
        case ARG_SYSTEM:
            a.system = true;
            break;
        case ARG_LISTEN:
            a.system = true;
            a.listen = optarg;
            break;
        case ARG_VERSION:
            puts("ptraced-keeper " PTRACED_VERSION);
            return 0;
        case 'h':
            help();
            return 0;
        default:
            return -EINVAL;
        }
    if (optind < argc || a.embedded == a.system) {
        log_error("Expected one of --system, --listen=PATH and --embedded, and nothing else");
        return -EINVAL;
    }
    *ret = a;
    return 1;
}

/* What came with the exec is put right: an ignored SIGCHLD would take the tracers' ends from us. */
static int set_up_signals(void)
{
    sigset_t handled;

    sigemptyset(&handled);
    sigaddset(&handled, SIGCHLD);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGTERM);
    if (sigprocmask(SIG_SETMASK, &handled, NULL) < 0)
        return -errno;
    (void)signal(SIGCHLD, SIG_DFL);
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

/* Each tracer costs two descriptors here, and a tracer one for each process that it traces. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int serve_embedded(struct keeper *k)
{
    int r;

    if (sd_is_socket(EMBEDDED_BUS_FD, AF_UNIX, SOCK_STREAM, 0) <= 0) {
        log_error("Descriptor %d is no connected stream socket; --embedded is for libptraced",
                  EMBEDDED_BUS_FD);
        return -EBADF;
    }
    /* Out of reach of the terminal: its Ctrl-C and its end are the embedding program's affair,
     * which tells us by closing the socket. Refused to the leader of a session, who has one
     * already. */
    (void)setsid();
    r = connection_serve(k, EMBEDDED_BUS_FD);
    if (r < 0)
        log_error("Cannot serve the broker: %s", strerror(-r));
    return r;
}

/* Looked up here and not in embedded mode, since it loads half a dozen libraries. */
static void find_broker_user(struct keeper *k)
{
    const struct passwd *user;

    errno = 0;
    user = getpwnam(PTRACED_USER);
    if (user)
        k->broker_uid = user->pw_uid;
    else
        log_notice("There is no user " PTRACED_USER "%s%s, serving brokers of user %u alone",
                   errno > 0 ? ": " : "", errno > 0 ? strerror(errno) : "", geteuid());
}

static int serve_system(struct keeper *k, const char *path)
{
    int r, n;

    find_broker_user(k);
    if (path) {
        r = connection_listen_path(k, path);
        if (r < 0)
            log_error("Cannot listen on %s: %s", path, strerror(-r));
        return r;
    }
    n = sd_listen_fds(true);
    if (n != 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0) {
        log_error("Expected one listening stream socket from systemd; --listen=PATH makes one");
        return -EBADF;
    }
    r = connection_listen_fd(k, SD_LISTEN_FDS_START);
    if (r < 0)
        log_error("Cannot listen on the socket from systemd: %s", strerror(-r));
    return r;
}

static int run(int argc, char *argv[])
{
    __attribute__((cleanup(keeper_freep))) struct keeper *k = NULL;
    struct arguments arguments;
    int r;

    r = parse_arguments(argc, argv, &arguments);
    if (r <= 0)
        return r;
    ptraced_errors_register();
    raise_descriptor_limit();
    r = set_up_signals();
    if (r >= 0)
        r = keeper_new(arguments.embedded ? KEEPER_EMBEDDED : KEEPER_SYSTEM, &k);
    if (r < 0) {
        log_error("Cannot set up: %s", strerror(-r));
        return r;
    }

    /* First the socket, so that no tracer is started for nothing; nobody is answered before the
     * loop runs. */
    r = arguments.embedded ? serve_embedded(k) : serve_system(k, arguments.listen);
    if (r < 0)
        return r;
    r = fleet_start(k);
    if (r < 0)
        return r;
    if (arguments.system) {
        (void)sd_event_set_watchdog(k->event, true);
        (void)sd_notify(false, "READY=1");
    }
    r = sd_event_loop(k->event);
    if (r < 0)
        log_error("The event loop failed: %s", strerror(-r));
    return r;
}

int main(int argc, char *argv[])
{
    return run(argc, argv) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
