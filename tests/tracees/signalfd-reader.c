/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks all signals and takes them from a signalfd, as event loops do: an interrupt that is sent
 * as a signal would show up here. "report" is answered by signals=N last=SIGNO. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static atomic_uint signals, last;

static void *reader(void *argument)
{
    struct signalfd_siginfo info;
    sigset_t all;
    int fd;

    sigfillset(&all);
    fd = signalfd(-1, &all, SFD_CLOEXEC);
    if (fd < 0)
        tracee_fail("signalfd");
    tracee_say("ready");
    for (;;) {
        if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
            if (errno == EINTR)
                continue;
            tracee_fail("read(signalfd)");
        }
        atomic_store(&last, info.ssi_signo);
        atomic_fetch_add(&signals, 1);
    }
    return NULL;
}

int main(void)
{
    sigset_t all;
    char line[64];

    tracee_start();
    sigfillset(&all);
    if (pthread_sigmask(SIG_BLOCK, &all, NULL) != 0)
        tracee_fail("pthread_sigmask");
    tracee_thread(reader, NULL);
    while (tracee_listen(line))
        tracee_say("signals=%u last=%u", atomic_load(&signals), atomic_load(&last));
    return 0;
}
