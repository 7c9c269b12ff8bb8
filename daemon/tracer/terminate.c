/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/tracer/terminate.h"
#include "daemon/tracer/tracer.h"

/* Not a signalfd: it is ready for whoever has the signal pending, and it is the doorbell, another
 * process, that asks (fs/signalfd.c:signalfd_poll()). An eventfd is ready for everybody. */

/* For the signal handler, which is handed nothing. */
static int wake_fd = -1;

static void on_signal(int signo)
{
    const int saved = errno;
    const uint64_t one = 1;

    if (write(wake_fd, &one, sizeof(one)) < 0) /* it is full, and so it is ready */
        errno = saved;
}

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    uint64_t n;

    if (read(fd, &n, sizeof(n)) > 0)
        tracer_release(userdata);
    return 0;
}

/* Without SA_RESTART: no wait of the tracer's may outlast it. */
static int catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};
    sigset_t mask;

    if (sigaction(SIGTERM, &action, NULL) < 0 || sigaction(SIGINT, &action, NULL) < 0)
        return -errno;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    return sigprocmask(SIG_UNBLOCK, &mask, NULL) < 0 ? -errno : 0;
}

int terminate_watch(struct tracer *t)
{
    sd_event_source *source;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), r;

    if (fd < 0)
        return -errno;
    r = sd_event_add_io(t->event, &source, fd, EPOLLIN, on_wake, t);
    if (r < 0) {
        close(fd);
        return r;
    }
    /* The event loop owns both from here on. */
    (void)sd_event_source_set_io_fd_own(source, true);
    (void)sd_event_source_set_floating(source, true);
    sd_event_source_unref(source);
    wake_fd = fd;
    return catch_signals();
}
