/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An execve that doesn't end, and so holds the lock that each attach to the process needs: it waits
 * for another thread's end, which a child of the process holds up as that thread's tracer. Says
 * "ready" and the child's pid; with the child's end the execve goes on, which says "executed". */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

struct hold {
    int told[2];   /* the child is told of the thread */
    int traced[2]; /* and tells that it traces it */
};

static void *be_held(void *argument)
{
    struct hold *h = argument;
    pid_t tid = (pid_t)syscall(SYS_gettid);

    if (write(h->told[1], &tid, sizeof(tid)) != sizeof(tid))
        tracee_fail("write");
    for (;;)
        pause();
    return NULL;
}

static void hold_thread(struct hold *h) __attribute__((noreturn));

/* The thread stops on its way out, and nobody lets it go on. */
static void hold_thread(struct hold *h)
{
    pid_t tid;
    int status;

    tracee_start();
    if (read(h->told[0], &tid, sizeof(tid)) != sizeof(tid))
        tracee_fail("read");
    if (ptrace(PTRACE_SEIZE, tid, 0, (void *)PTRACE_O_TRACEEXIT) < 0)
        tracee_fail("PTRACE_SEIZE");
    if (write(h->traced[1], "", 1) != 1)
        tracee_fail("write");
    if (waitpid(tid, &status, __WALL) != tid)
        tracee_fail("waitpid");
    tracee_say("ready %d", getpid());
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    char line[64], byte, *again[] = {argv[0], (char *)"executed", NULL};
    struct hold h;
    pid_t child;

    tracee_start();
    if (argc > 1) {
        tracee_say("executed");
        while (tracee_listen(line))
            ;
        return 0;
    }
    if (pipe(h.told) < 0 || pipe(h.traced) < 0)
        tracee_fail("pipe");
    child = fork();
    if (child < 0)
        tracee_fail("fork");
    if (child == 0)
        hold_thread(&h);
    (void)prctl(PR_SET_PTRACER, child, 0, 0, 0);
    tracee_thread(be_held, &h);
    if (read(h.traced[0], &byte, 1) != 1)
        tracee_fail("read");
    execv("/proc/self/exe", again);
    tracee_fail("execv");
}
