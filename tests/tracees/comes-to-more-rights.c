/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts one child after another, each of which comes to have more rights than who started it, at a
 * moment that a line tells.
 *
 *     comes-to-more-rights PROGRAM
 *
 * "execute USEC" has a child execute the program after that time, "again USEC" execute this program
 * a few times before, each after that time, and "hide USEC" make itself not dumpable. The child
 * says "child PID STACK" before; who has hidden says "gained" then, and goes on like the program
 * keeps-a-secret. When it has ended this program says "ended STATUS". */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tracees/marker.h"
#include "tests/tracees/tracee.h"

#define EXECS_BEFORE 3ul

TRACEE_MARKER('h', 'a', 'r', 'm', 'l', 'e', 's', 's');

static long usec_since(const struct timespec *from)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - from->tv_sec) * 1000000 + (now.tv_nsec - from->tv_nsec) / 1000;
}

/* Without a sleep, whose end would come too late for a moment like this. */
static void spin(unsigned long usec)
{
    struct timespec start;

    clock_gettime(CLOCK_MONOTONIC, &start);
    while (usec_since(&start) < (long)usec)
        ;
}

__attribute__((noreturn)) static void hide(unsigned long usec)
{
    char line[64];

    spin(usec);
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        tracee_fail("prctl(PR_SET_DUMPABLE)");
    tracee_say("gained");
    tracee_listen(line);
    tracee_say("euid=%u changes=0 signals=0", geteuid());
    _exit(0);
}

__attribute__((noreturn)) static void execute(const char *program, unsigned long usec,
                                              unsigned long before)
{
    char time[24], left[24];

    spin(usec);
    snprintf(time, sizeof(time), "%lu", usec);
    snprintf(left, sizeof(left), "%lu", before - 1);
    if (before > 0)
        execl("/proc/self/exe", "again", program, time, left, NULL);
    else
        execl(program, program, NULL);
    tracee_fail("execl");
}

__attribute__((noreturn)) static void come_to_more(const char *program, const char *how,
                                                   unsigned long usec)
{
    /* An ignored signal is dropped: what is sent before the program begins is not its business. */
    signal(SIGUSR1, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    tracee_say("child %d %lu", getpid(), (unsigned long)__builtin_frame_address(0));
    if (strcmp(how, "hide") == 0)
        hide(usec);
    execute(program, usec, strcmp(how, "again") == 0 ? EXECS_BEFORE : 0);
}

static void run_child(const char *program, char *line)
{
    char *time = strchr(line, ' ');
    int status;
    pid_t pid;

    if (!time)
        tracee_fail("a line without a time");
    *time++ = '\0';
    pid = fork();
    if (pid < 0)
        tracee_fail("fork");
    if (pid == 0)
        come_to_more(program, line, strtoul(time, NULL, 10));
    if (waitpid(pid, &status, 0) != pid)
        tracee_fail("waitpid");
    tracee_say("ended %d", status);
}

int main(int argc, char **argv)
{
    char line[64];

    if (argc == 4)
        execute(argv[1], strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    tracee_start();
    tracee_say("ready");
    while (tracee_listen(line))
        run_child(argv[1], line);
    return 0;
}
