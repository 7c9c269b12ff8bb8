/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/bench/clock.h"
#include "tests/bench/job.h"

static int parse_number(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 0);
    return errno != 0 || end == text || *end != '\0' ? -EINVAL : 0;
}

static int parse_option(struct job *j, int option, const char *value)
{
    uint64_t size;
    int r;

    switch (option) {
    case 'f':
        return parse_number(value, &j->usec);
    case 'h':
        j->how = value;
        return 0;
    case 'a':
        return parse_number(value, &j->address);
    case 's':
        r = parse_number(value, &size);
        if (r >= 0)
            j->size = size;
        return r;
    default:
        return -EINVAL;
    }
}

static int parse(struct job *j, int argc, char *argv[])
{
    static const struct option options[] = {
        {"for", required_argument, NULL, 'f'},
        {"how", required_argument, NULL, 'h'},
        {"address", required_argument, NULL, 'a'},
        {"size", required_argument, NULL, 's'},
        {0},
    };
    uint64_t pid;
    int c, r;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        r = parse_option(j, c, optarg);
        if (r < 0)
            return r;
    }
    if (optind + 1 != argc)
        return -EINVAL;
    r = parse_number(argv[optind], &pid);
    if (r < 0 || pid == 0 || pid > INT_MAX)
        return -EINVAL;
    j->pid = (pid_t)pid;
    return 0;
}

int job_main(int argc, char *argv[], int (*run)(struct job *j))
{
    struct job j = {.usec = USEC_PER_SEC, .how = "", .step = "trace"};
    int r;

    if (parse(&j, argc, argv) < 0) {
        fprintf(stderr,
                "Usage: %s [--for=USEC] [--how=WORD] [--address=NUMBER] [--size=BYTES] PID\n",
                program_invocation_short_name);
        return EXIT_FAILURE;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(JOB_SECONDS_MAX);
    r = run(&j);
    if (r == -EOPNOTSUPP) {
        fprintf(stderr, "%s: cannot %s yet\n", program_invocation_short_name, j.step);
        return JOB_EXIT_UNABLE;
    }
    if (r < 0) {
        fprintf(stderr, "%s: Cannot %s process %d: %s\n", program_invocation_short_name, j.step,
                (int)j.pid, strerror(-r));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

void job_begin(struct job *j)
{
    puts("attached");
    fflush(stdout);
    j->begin = now_usec();
    j->n_stops = 0;
}

bool job_is_over(const struct job *j)
{
    return now_usec() >= j->begin + j->usec;
}

bool job_is(const struct job *j, const char *how)
{
    return strcmp(j->how, how) == 0;
}

void job_print_stops(const struct job *j)
{
    printf("{\"stops\":%llu,\"usec\":%llu}\n", (unsigned long long)j->n_stops,
           (unsigned long long)(now_usec() - j->begin));
}

void job_print_bytes(const struct job *j, uint64_t usec)
{
    printf("{\"bytes\":%zu,\"usec\":%llu}\n", j->size, (unsigned long long)usec);
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void job_print_median(uint64_t *nsec, size_t n)
{
    const size_t middle = n / 2;

    qsort(nsec, n, sizeof(*nsec), compare);
    printf("{\"median\":%.3f,\"rounds\":%zu}\n", n > 0 ? (double)nsec[middle] / NSEC_PER_USEC : 0.0,
           n);
}
