/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "config.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/introspect.h"

#define KEEPER_SOCKET "/run/ptraced/keeper"
#define TRACER_TIMEOUT_SECONDS 10
#define SECONDS_MAX 3600

struct arguments {
    struct broker_options broker;
    const char *keeper_path;
    const char *introspect; /* NULL: run */
    bool has_mode;
};

static int help(void)
{
    printf("ptraced [OPTIONS...]\n\n"
           "Traces programs for those who ask for it on D-Bus.\n\n"
           "  -h --help                   Show this help\n"
           "     --version                Show the version\n"
           "     --system                 Serve on the system bus\n"
           "     --user                   Serve on the user's bus\n"
           "     --embedded               Serve one client, at descriptor 3; the keeper is at 4\n"
           "     --keeper=PATH            The keeper's socket, instead of " KEEPER_SOCKET "\n"
           "     --tracer-timeout=SECONDS How long a tracer may take to answer (default: %d)\n"
           "     --idle-exit=SECONDS      End after that time without any session (default: stay)\n"
           "     --bus-introspect=PATH    Write the introspection of an object or interface\n"
           "     --bus-introspect=list    List the objects\n",
           TRACER_TIMEOUT_SECONDS);
    return 0;
}

static int version(void)
{
    puts("ptraced " PTRACED_VERSION);
    return 0;
}

static int parse_seconds(const char *option, const char *text, uint64_t *ret_usec)
{
    char *end;
    double seconds;

    seconds = strtod(text, &end);
    if (end == text || *end || !(seconds > 0) || seconds > SECONDS_MAX) {
        fprintf(stderr, "ptraced: --%s takes seconds, up to %d, not \"%s\"\n", option, SECONDS_MAX,
                text);
        return -EINVAL;
    }
    *ret_usec = (uint64_t)(seconds * 1e6) + 1;
    return 0;
}

static int parse_mode(struct arguments *a, enum broker_mode mode)
{
    if (a->has_mode && a->broker.mode != mode) {
        fputs("ptraced: only one of --system, --user and --embedded can be chosen\n", stderr);
        return -EINVAL;
    }
    a->broker.mode = mode;
    a->has_mode = true;
    return 1;
}

/* 1 to go on, 0 when all has been done, or a negative errno. */
static int parse_arguments(int argc, char *argv[], struct arguments *a)
{
    enum {
        OPTION_VERSION = 256,
        SYSTEM,
        USER,
        EMBEDDED,
        KEEPER,
        TRACER_TIMEOUT,
        IDLE_EXIT,
        INTROSPECT
    };
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPTION_VERSION},
        {"system", no_argument, NULL, SYSTEM},
        {"user", no_argument, NULL, USER},
        {"embedded", no_argument, NULL, EMBEDDED},
        {"keeper", required_argument, NULL, KEEPER},
        {"tracer-timeout", required_argument, NULL, TRACER_TIMEOUT},
        {"idle-exit", required_argument, NULL, IDLE_EXIT},
        {"bus-introspect", required_argument, NULL, INTROSPECT},
        {},
    };
    int c, r = 1;

    while (r > 0 && (c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
        switch (c) {
        case 'h':
            return help();
        case OPTION_VERSION:
            return version();
        case SYSTEM:
            r = parse_mode(a, BROKER_SYSTEM);
            break;
        case USER:
            r = parse_mode(a, BROKER_USER);
            break;
        case EMBEDDED:
            r = parse_mode(a, BROKER_EMBEDDED);
            break;
        case KEEPER:
            a->keeper_path = optarg;
            break;
        case TRACER_TIMEOUT:
            r = parse_seconds("tracer-timeout", optarg, &a->broker.tracer_timeout_usec);
            r = r < 0 ? r : 1;
            break;
        case IDLE_EXIT:
            r = parse_seconds("idle-exit", optarg, &a->broker.idle_exit_usec);
            r = r < 0 ? r : 1;
            break;
        case INTROSPECT:
            a->introspect = optarg;
            break;
        default:
            return -EINVAL;
        }
    if (r <= 0)
        return r;

    if (optind < argc) {
        fprintf(stderr, "ptraced: \"%s\" is one argument too many\n", argv[optind]);
        return -EINVAL;
    }
    if (!a->introspect && !a->has_mode) {
        fputs("ptraced: one of --system, --user and --embedded is needed\n", stderr);
        return -EINVAL;
    }
    return 1;
}

static int run_introspect(const char *pattern)
{
    int r;

    r = introspect(pattern, stdout);
    if (r < 0)
        fprintf(stderr, "ptraced: there is no object or interface %s; see --bus-introspect=list\n",
                pattern);
    return r;
}

static int run(int argc, char *argv[])
{
    struct arguments arguments = {
        .broker.tracer_timeout_usec = TRACER_TIMEOUT_SECONDS * 1000000ULL,
        .keeper_path = KEEPER_SOCKET,
    };
    _cleanup_(broker_freep) struct broker *b = NULL;
    int r;

    r = parse_arguments(argc, argv, &arguments);
    if (r <= 0)
        return r;
    if (arguments.introspect)
        return run_introspect(arguments.introspect);

    ptraced_errors_register();
    r = broker_new(&arguments.broker, &b);
    if (r >= 0)
        r = broker_start(b, arguments.keeper_path);
    /* A client that has left again before we were there is no failure of ours. */
    if (arguments.broker.mode == BROKER_EMBEDDED && (r == -ECONNRESET || r == -EPIPE))
        return 0;
    if (r < 0) {
        fprintf(stderr, "ptraced: cannot start: %s\n", strerror(-r));
        return r;
    }
    return broker_run(b);
}

int main(int argc, char *argv[])
{
    return run(argc, argv) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
