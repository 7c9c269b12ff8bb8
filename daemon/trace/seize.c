/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <unistd.h>

#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/seize.h"

static void on_timer(int signo, siginfo_t *info, void *context)
{
    struct seize *s = info->si_value.sival_ptr;

    if (info->si_code != SI_TIMER || !s->inside)
        return;
    s->inside = 0;
    siglongjmp(s->out, 1);
}

int seize_begin(struct seize *s)
{
    /* SA_NODEFER: the jump does not restore the signal mask, which costs a call for each thread. */
    const struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    const struct itimerspec interval = {.it_value.tv_nsec = SEIZE_PATIENCE_NSEC,
                                        .it_interval.tv_nsec = SEIZE_PATIENCE_NSEC};
    struct sigevent event = {
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM, .sigev_value.sival_ptr = s};

    s->inside = 0;
    if (sigaction(SIGALRM, &action, NULL) < 0 ||
        timer_create(CLOCK_MONOTONIC, &event, &s->timer) < 0)
        return -errno;
    /* It repeats: a tick between two tries is no loss. */
    if (timer_settime(s->timer, 0, &interval, NULL) < 0) {
        timer_delete(s->timer);
        return -errno;
    }
    return 0;
}

void seize_end(struct seize *s)
{
    timer_delete(s->timer);
    signal(SIGALRM, SIG_IGN);
}

/* Out of the sleep, or just past it. */
static int look_whether_seized(pid_t tid)
{
    struct proc_status status;
    int r = proc_read_status(tid, &status);

    if (r < 0)
        return r;
    return status.tracer == getpid() ? 0 : -EAGAIN;
}

int seize_try(struct seize *s, pid_t tid, unsigned long options)
{
    int r;

    if (sigsetjmp(s->out, 0) != 0)
        return look_whether_seized(tid);
    s->inside = 1;
    r = ptrace_ops_seize(tid, options);
    s->inside = 0;
    return r;
}
