/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/wait.h>

#include "daemon/trace/wait.h"

static int wait_for(idtype_t type, id_t id, int flags, siginfo_t *ret)
{
    ret->si_pid = 0;
    if (waitid(type, id, ret, WEXITED | WSTOPPED | __WALL | flags) < 0)
        return -errno;
    return ret->si_pid != 0;
}

int wait_thread(pid_t tid, int flags, siginfo_t *ret)
{
    return wait_for(P_PID, (id_t)tid, flags, ret);
}

int wait_any(int flags, siginfo_t *ret)
{
    return wait_for(P_ALL, 0, flags, ret);
}
