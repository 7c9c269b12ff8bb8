/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/keeper/control.h"
#include "daemon/tracer/control.h"
#include "daemon/tracer/tracer.h"

/* Returns 1 with an order, 0 at the end, or a negative errno. *ret_fd is -1 without a descriptor.
 */
static int receive(int socket_fd, struct control_message *ret, int *ret_fd)
{
    union {
        struct cmsghdr header;
        char buffer[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct control_message message = {0};
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof(message)};
    struct msghdr header = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    const struct cmsghdr *c;
    ssize_t n = recvmsg(socket_fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int fd = -1;

    if (n < 0)
        return -errno;
    c = CMSG_FIRSTHDR(&header);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    if (n == 0)
        return 0;
    *ret = message;
    *ret_fd = fd;
    return 1;
}

/* Without a broker a tracer is of no use, but it may hold tracees: the keeper decides. */
static void adopt(struct tracer *t, int fd)
{
    int r = tracer_adopt(t, fd);

    if (r < 0)
        fprintf(stderr, "ptraced-tracer: Tracer %d cannot serve its broker: %s\n", getpid(),
                strerror(-r));
}

static int on_control(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct control_message message = {0};
    struct tracer *t = userdata;
    int passed = -1, r;

    r = receive(fd, &message, &passed);
    if (r == -EAGAIN || r == -EINTR)
        return 0;
    if (r <= 0) {
        /* The keeper is gone, and with it the guardian: better to let go in order than to be
         * killed unguarded. */
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        tracer_release(t);
        return 0;
    }
    switch (message.order) {
    case CONTROL_ADOPT:
        if (passed >= 0)
            adopt(t, passed);
        break;
    case CONTROL_RELEASE:
        tracer_release(t);
        break;
    default:
        if (passed >= 0)
            close(passed);
        break;
    }
    return 0;
}

int control_watch(struct tracer *t)
{
    return sd_event_add_io(t->event, NULL, t->control_fd, EPOLLIN, on_control, t);
}
