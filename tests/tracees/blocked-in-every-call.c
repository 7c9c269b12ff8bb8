/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread sits in each of the blocking system calls that programs use, and counts how often the
 * call came back with EINTR although no handler ran. "report" is answered by CALL=N for each.
 *
 * Whoever stops a thread without a signal makes the kernel restart most of them. It has no restart
 * for epoll_wait() and sigtimedwait(): signal(7) lists them, and says that they may fail so. */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static int empty_pipe[2], epoll_fd;
static uint32_t futex_word;
static pid_t sleeper;

static int call_nanosleep(void)
{
    return nanosleep(&(struct timespec){.tv_sec = 3600}, NULL);
}

static int call_poll(void)
{
    struct pollfd p = {.fd = empty_pipe[0], .events = POLLIN};

    return poll(&p, 1, 3600 * 1000);
}

static int call_select(void)
{
    struct timeval t = {.tv_sec = 3600};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(empty_pipe[0], &set);
    return select(empty_pipe[0] + 1, &set, NULL, NULL, &t);
}

static int call_read(void)
{
    char c;

    return (int)read(empty_pipe[0], &c, 1);
}

static int call_futex(void)
{
    return (int)syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static int call_waitpid(void)
{
    return waitpid(sleeper, NULL, 0);
}

static int call_epoll_wait(void)
{
    struct epoll_event event;

    return epoll_wait(epoll_fd, &event, 1, -1);
}

static int call_sigtimedwait(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    return sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 3600});
}

static struct call {
    const char *name;
    int (*function)(void);
    atomic_uint eintr;
} calls[] = {
    {.name = "nanosleep", .function = call_nanosleep},
    {.name = "poll", .function = call_poll},
    {.name = "select", .function = call_select},
    {.name = "read", .function = call_read},
    {.name = "futex", .function = call_futex},
    {.name = "waitpid", .function = call_waitpid},
    {.name = "epoll_wait", .function = call_epoll_wait},
    {.name = "sigtimedwait", .function = call_sigtimedwait},
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void *caller(void *argument)
{
    struct call *call = argument;

    for (;;) {
        if (call->function() >= 0 || errno != EINTR)
            tracee_fail(call->name);
        atomic_fetch_add(&call->eintr, 1);
    }
    return NULL;
}

static void report(void)
{
    char line[256];
    size_t n = 0;

    for (size_t i = 0; i < CALLS; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s=%u", i ? " " : "", calls[i].name,
                              atomic_load(&calls[i].eintr));
    tracee_say("%s", line);
}

static void set_up(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        tracee_fail("pthread_sigmask");
    if (pipe(empty_pipe) < 0)
        tracee_fail("pipe");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        tracee_fail("epoll_create1");
    sleeper = fork();
    if (sleeper < 0)
        tracee_fail("fork");
    if (sleeper == 0) {
        tracee_start();
        for (;;)
            pause();
    }
}

int main(void)
{
    char line[64];

    tracee_start();
    set_up();
    for (size_t i = 0; i < CALLS; i++)
        tracee_thread(caller, &calls[i]);
    /* Not the proof that each is in its call, but the tests go on for longer than this. */
    tracee_sleep_usec(20000);
    tracee_say("ready");
    while (tracee_listen(line))
        report();
    kill(sleeper, SIGKILL);
    return 0;
}
