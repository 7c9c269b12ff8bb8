/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/tracees/tracee.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

void tracee_start(void)
{
    if (getenv("TRACEE_OUTLIVES_PARENT"))
        return;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        tracee_fail("prctl(PR_SET_PDEATHSIG)");
    if (getppid() == 1)
        _exit(99);
}

void tracee_say(const char *format, ...)
{
    char line[512];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(line, sizeof(line) - 1, format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(line) - 1)
        abort();
    line[n++] = '\n';

    /* One write, and no stdio buffer that a child could inherit. */
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(99);
}

bool tracee_listen(char line[static 64])
{
    size_t n = 0;

    for (;;) {
        ssize_t k = read(STDIN_FILENO, line + n, 1);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0 || n == 63)
            return false;
        if (line[n] == '\n')
            break;
        n++;
    }
    line[n] = '\0';
    return strcmp(line, "quit") != 0;
}

void tracee_fail(const char *what)
{
    fprintf(stderr, "tracee %d: %s: %m\n", getpid(), what);
    _exit(99);
}

pthread_t tracee_thread(void *(*function)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int r;

    r = pthread_attr_init(&attributes);
    if (r == 0)
        r = pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN + 16384);
    if (r == 0)
        r = pthread_create(&thread, &attributes, function, argument);
    if (r != 0) {
        errno = r;
        tracee_fail("pthread_create");
    }
    pthread_attr_destroy(&attributes);
    return thread;
}

unsigned long tracee_number(int argc, char **argv, int i, unsigned long otherwise)
{
    return i < argc ? strtoul(argv[i], NULL, 0) : otherwise;
}

void tracee_sleep_usec(unsigned long usec)
{
    struct timespec t = {.tv_sec = (time_t)(usec / 1000000),
                         .tv_nsec = (long)(usec % 1000000) * 1000};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}
