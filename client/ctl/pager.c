/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/options.h"
#include "client/ctl/pager.h"

#define PAGER_WORDS_MAX 16u

static const char *configured(void)
{
    const char *pager = getenv("SYSTEMD_PAGER");

    return pager ? pager : getenv("PAGER");
}

static bool wanted(const struct options *o)
{
    const char *pager = configured(), *terminal = getenv("TERM");

    if (o->no_pager || o->json != JSON_OFF || !isatty(STDOUT_FILENO))
        return false;
    if (terminal && strcmp(terminal, "dumb") == 0)
        return false;
    return !pager || (*pager != '\0' && strcmp(pager, "cat") != 0);
}

/* Words of a command, split at spaces: no shell reads what may come from somebody else. */
static void execute(const char *command)
{
    char *words[PAGER_WORDS_MAX + 1], *copy, *rest;
    unsigned n = 0;

    copy = strdup(command);
    if (!copy)
        return;
    for (char *w = strtok_r(copy, " \t", &rest); w && n < PAGER_WORDS_MAX;
         w = strtok_r(NULL, " \t", &rest))
        words[n++] = w;
    words[n] = NULL;
    if (n > 0)
        execvp(words[0], words);
    free(copy);
}

static void run_pager(int in) __attribute__((__noreturn__));

static void run_pager(int in)
{
    const char *pager = configured();

    dup2(in, STDIN_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    /* Quit if it fits, colours, no clearing; and no shell or editor out of it, since ptracectl is
     * likely to be run by root. */
    setenv("LESS", "FRSXMK", 0);
    setenv("LESSSECURE", "1", 1);
    if (pager)
        execute(pager);
    execute("less");
    execute("more");
    execute("cat");
    _exit(EXIT_FAILURE);
}

void pager_open(struct pager *p, const struct options *o)
{
    int fds[2];

    *p = (struct pager){.stdout_fd = -1};
    if (!wanted(o) || pipe2(fds, O_CLOEXEC) < 0)
        return;
    fflush(stdout);
    p->stdout_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (p->stdout_fd >= 0)
        p->pid = fork();
    if (p->stdout_fd >= 0 && p->pid == 0)
        run_pager(fds[0]);
    if (p->pid > 0) {
        /* The user may leave before all is written; ptracectl must see to its end then. */
        signal(SIGPIPE, SIG_IGN);
        dup2(fds[1], STDOUT_FILENO);
    } else
        p->pid = 0;
    close(fds[0]);
    close(fds[1]);
}

void pager_close(struct pager *p)
{
    if (p->pid > 0) {
        fflush(stdout);
        clearerr(stdout); /* what the user did not want to see is no failure */
        dup2(p->stdout_fd, STDOUT_FILENO);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        signal(SIGPIPE, SIG_DFL);
    }
    if (p->stdout_fd >= 0)
        close(p->stdout_fd);
    *p = (struct pager){.stdout_fd = -1};
}
