/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/keeper/control.h"
#include "daemon/keeper/tracer.h"
#include "daemon/trace/macro.h"

struct tracer *tracer_free(struct tracer *t)
{
    if (!t)
        return NULL;
    if (t->control_fd >= 0)
        close(t->control_fd);
    if (t->peer_fd >= 0)
        close(t->peer_fd);
    sd_event_source_disable_unref(t->holding);
    if (t->quota)
        quota_take_back(t->quota, t->process.pid);
    pidref_done(&t->process);
    ledger_unmap(t->ledger);
    repair_free(t->repair);
    free(t);
    return NULL;
}

void tracer_freep(struct tracer **t)
{
    tracer_free(*t);
}

/* Never blocks: a tracer may be held by a hostile tracee, the keeper may not. */
static int send_order(struct tracer *t, enum control_order order, int fd)
{
    struct control_message message = {.order = order};
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof(message)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
        mh.msg_control = &control;
        mh.msg_controllen = sizeof(control);
    }
    if (sendmsg(t->control_fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return -errno;
    return 0;
}

int tracer_adopt(struct tracer *t, int *ret_broker_fd)
{
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    r = send_order(t, CONTROL_ADOPT, pair[1]);
    if (r < 0) {
        close(pair[1]);
        close(pair[0]);
        return r;
    }
    if (t->peer_fd >= 0)
        close(t->peer_fd);
    t->peer_fd = pair[1];
    *ret_broker_fd = pair[0];
    return 0;
}

int tracer_release(struct tracer *t)
{
    return send_order(t, CONTROL_RELEASE, -1);
}

int tracer_kill(struct tracer *t)
{
    return pidref_signal(&t->process, SIGKILL);
}

struct tracer *tracer_find(const struct tracer_list *list, pid_t pid)
{
    struct tracer *t;

    LIST_FOREACH(t, list, tracers)
        if (t->process.pid == pid)
            return t;
    return NULL;
}
