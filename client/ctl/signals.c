/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/ctl/signals.h"

/* The only variable of the program that is not on a stack: a handler gets nothing but a number. */
static volatile sig_atomic_t handler_fd = -1;

static void handler(int signo)
{
    unsigned char byte = (unsigned char)signo;
    int saved = errno;

    /* A full pipe is no loss: it is full of signals that nobody has looked at. */
    (void)!write(handler_fd, &byte, 1);
    errno = saved;
}

static int catch_signal(struct signals *s, int signo)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_NOCLDSTOP},
                     *before = &s->before[s->n];

    sigfillset(&action.sa_mask);
    if (sigaction(signo, NULL, before) < 0)
        return -errno;
    if (before->sa_handler == SIG_IGN && signo != SIGCHLD)
        return 0;
    if (sigaction(signo, &action, NULL) < 0)
        return -errno;
    s->caught[s->n++] = signo;
    return 0;
}

int signals_open(struct signals *s, const int *list)
{
    int r;

    *s = SIGNALS_NONE;
    if (pipe2(s->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    handler_fd = s->pipe[1];
    for (; *list != 0 && s->n < SIGNALS_MAX; list++) {
        r = catch_signal(s, *list);
        if (r < 0) {
            signals_close(s);
            return r;
        }
    }
    return 0;
}

void signals_close(struct signals *s)
{
    for (size_t i = 0; i < s->n; i++)
        sigaction(s->caught[i], &s->before[i], NULL);
    handler_fd = -1;
    if (s->pipe[0] >= 0)
        close(s->pipe[0]);
    if (s->pipe[1] >= 0)
        close(s->pipe[1]);
    *s = SIGNALS_NONE;
}

uint64_t signals_take(struct signals *s)
{
    unsigned char bytes[64];
    uint64_t set = 0;
    ssize_t n;

    while ((n = read(s->pipe[0], bytes, sizeof(bytes))) > 0)
        for (ssize_t i = 0; i < n; i++)
            set |= SIGNAL_BIT(bytes[i]);
    return set;
}
