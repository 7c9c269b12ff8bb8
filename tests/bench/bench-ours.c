/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What bench-raw does, through the service: embedded mode, one request to attach to a process, one
 * to stop it, one to detach.
 *
 *     bench-ours [--hold | --steps] [--unsubscribed] [--normal-class] [--fifo] [PID]
 *
 * prints
 * {"open":USEC,"attach":USEC,"stop":USEC,"detach":USEC,"total":USEC,"cold":USEC,"close":USEC}.
 * `total` is from attach to detach: the connection is there before, since the raw loop has none;
 * `cold` includes opening it. With --hold it prints {"step":"open","usec":USEC} when it is open and
 * goes on when it reads a line, so that the service has settled by then; with --steps it does so
 * after every step, so that somebody can look at it. Without a process it only opens and closes.
 *
 * --fifo gives this client, and none of the daemons, the class that bench-raw takes with it: else
 * its clock would stop only when it comes around among the threads that were let go.
 * --normal-class takes the right to such a class from the daemons. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "client/lib/ptraced/ptraced.h"
#include "tests/bench/clock.h"

#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

struct run {
    pid_t pid;       /* 0: none */
    unsigned n_held; /* stops for a line after so many of the first steps */
    bool fifo;
    bool unsubscribed;
    bool normal_class;
    ptraced *connection;
    ptraced_session *session;
};

struct step {
    const char *name;
    const char *what; /* for people */
    int (*function)(struct run *r);
    bool needs_process;
};

static void run_done(struct run *run)
{
    ptraced_session_unref(run->session);
    ptraced_unref(run->connection);
}

/* The daemons do not inherit it. */
static int raise_class(void)
{
    const struct sched_param param = {.sched_priority = 1};

    return sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) < 0 ? -errno : 0;
}

/* What the daemons execute keeps no capability that is outside of the bounding set. */
static int give_up_real_time(void)
{
    const struct rlimit none = {0};

    if (setrlimit(RLIMIT_RTPRIO, &none) < 0)
        return -errno;
    if (prctl(PR_CAPBSET_READ, CAP_SYS_NICE) == 1 && prctl(PR_CAPBSET_DROP, CAP_SYS_NICE) < 0)
        /* Who may not drop it is not root, and its programs do not gain it. */
        return errno == EPERM ? 0 : -errno;
    return 0;
}

static int choose_class(const struct run *run)
{
    int r;

    r = run->fifo ? raise_class() : 0;
    if (r < 0)
        return r;
    return run->normal_class ? give_up_real_time() : 0;
}

static int step_open(struct run *run)
{
    unsigned flags = run->unsubscribed ? PTRACED_SESSION_PERSISTENT : 0;
    int r;

    r = ptraced_open_embedded(&run->connection);
    if (r < 0)
        return r;
    return ptraced_session_new(run->connection, "bench", flags, &run->session);
}

static int step_attach(struct run *run)
{
    return ptraced_attach(run->session, run->pid, NULL);
}

static int step_stop(struct run *run)
{
    return ptraced_interrupt(run->session, run->pid, 0);
}

static int step_detach(struct run *run)
{
    return ptraced_detach(run->session, run->pid, 0);
}

static int step_close(struct run *run)
{
    int r = ptraced_session_close(run->session);

    run->session = ptraced_session_unref(run->session);
    run->connection = ptraced_unref(run->connection);
    return r;
}

static const struct step steps[] = {
    {"open", "open embedded mode", step_open, false},
    {"attach", "attach", step_attach, true},
    {"stop", "stop", step_stop, true},
    {"detach", "detach", step_detach, true},
    {"close", "close the session", step_close, false},
};

static int complain(struct run *run, const struct step *step, int error)
{
    const char *message = NULL;

    if (run->connection)
        ptraced_get_error(run->connection, NULL, &message);
    fprintf(stderr, "Cannot %s (process %d): %s\n", step->what, (int)run->pid,
            message ? message : strerror(-error));
    return error;
}

/* Says how long the step took and waits to be sent on. */
static void hold(const struct step *step, uint64_t usec)
{
    char line[8];

    printf("{\"step\":\"%s\",\"usec\":%llu}\n", step->name, (unsigned long long)usec);
    fflush(stdout);
    /* At the end of the input it simply goes on, to the close. */
    (void)!fgets(line, sizeof(line), stdin);
}

static void print(const uint64_t usec[static ELEMENTS(steps)])
{
    uint64_t total = usec[1] + usec[2] + usec[3];

    printf("{");
    for (size_t i = 0; i < ELEMENTS(steps); i++)
        printf("\"%s\":%llu,", steps[i].name, (unsigned long long)usec[i]);
    printf("\"total\":%llu,\"cold\":%llu}\n", (unsigned long long)total,
           (unsigned long long)(usec[0] + total));
}

static int run_steps(struct run *run)
{
    uint64_t usec[ELEMENTS(steps)] = {0};

    for (size_t i = 0; i < ELEMENTS(steps); i++) {
        uint64_t begin;
        int r;

        if (steps[i].needs_process && run->pid == 0)
            continue;
        begin = now_usec();
        r = steps[i].function(run);
        if (r < 0)
            return complain(run, &steps[i], r);
        usec[i] = now_usec() - begin;
        if (i < run->n_held)
            hold(&steps[i], usec[i]);
    }
    print(usec);
    return 0;
}

static int parse_pid(const char *text, pid_t *ret)
{
    char *end;
    long v = strtol(text, &end, 10);

    if (*end != '\0' || v <= 0 || v > INT_MAX)
        return -EINVAL;
    *ret = (pid_t)v;
    return 0;
}

static int parse(struct run *run, int argc, char *argv[])
{
    static const struct option options[] = {
        {"fifo", no_argument, NULL, 'f'},         {"hold", no_argument, NULL, 'h'},
        {"steps", no_argument, NULL, 's'},        {"unsubscribed", no_argument, NULL, 'u'},
        {"normal-class", no_argument, NULL, 'n'}, {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        switch (c) {
        case 'f':
            run->fifo = true;
            break;
        case 'h':
            run->n_held = 1;
            break;
        case 's':
            run->n_held = ELEMENTS(steps);
            break;
        case 'u':
            run->unsubscribed = true;
            break;
        case 'n':
            run->normal_class = true;
            break;
        default:
            return -EINVAL;
        }
    if (optind == argc)
        return 0;
    return optind + 1 == argc ? parse_pid(argv[optind], &run->pid) : -EINVAL;
}

int main(int argc, char *argv[])
{
    __attribute__((__cleanup__(run_done))) struct run run = {0};
    int r;

    if (parse(&run, argc, argv) < 0) {
        fprintf(stderr, "Usage: bench-ours [--hold | --steps] [--unsubscribed] [--normal-class] "
                        "[--fifo] [PID]\n");
        return EXIT_FAILURE;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    r = choose_class(&run);
    if (r < 0) {
        fprintf(stderr, "Cannot choose a scheduling class: %s\n", strerror(-r));
        return EXIT_FAILURE;
    }
    return run_steps(&run) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
