/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "client/ctl/agent.h"
#include "client/ctl/context.h"
#include "client/ctl/macro.h"
#include "client/ctl/proc.h"

#define START_TIMEOUT_MSEC 5000

/* What the library can prove, polkit is not asked about (open(2) of /proc/PID/mem is the proof). */
static bool is_provable(pid_t pid)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* What is asked about elsewhere, an agent of ours would not be found for. */
static bool is_asked_here(const struct context *c)
{
    return geteuid() != 0 && ptraced_get_transport(c->connection) == PTRACED_TRANSPORT_SYSTEM;
}

static bool is_due(const pid_t *pids, size_t n_pids)
{
    /* A child of one's own can be proved, but where Yama lets nobody. */
    if (n_pids == 0)
        return proc_yama_scope() >= 2;
    for (size_t i = 0; i < n_pids; i++)
        if (!is_provable(pids[i]))
            return true;
    return false;
}

static bool has_desktop(void)
{
    return getenv("WAYLAND_DISPLAY") || getenv("DISPLAY");
}

static void run_agent(int notify_fd) __attribute__((__noreturn__));

static void run_agent(int notify_fd)
{
    /* A desktop's own agent goes before it. Where none can be it does not stand back: polkitd
     * finds one that does in a session of logind alone. */
    const char *fallback = has_desktop() ? "--fallback" : NULL;
    char number[16];

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    fcntl(notify_fd, F_SETFD, 0);
    snprintf(number, sizeof(number), "%d", notify_fd);
    execlp("pkttyagent", "pkttyagent", "--notify-fd", number, fallback, NULL);
    _exit(EXIT_FAILURE);
}

/* It closes its end once it is registered, or ends. */
static void wait_until_registered(int fd)
{
    struct pollfd p = {.fd = fd};

    while (poll(&p, 1, START_TIMEOUT_MSEC) < 0 && errno == EINTR)
        continue;
}

/* Of the one agent there is at a time: a signal's handler is given nothing but a number. */
static volatile sig_atomic_t agent_pid;
static struct termios terminal;

static const int end_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
static struct sigaction before[ELEMENTSOF(end_signals)];

/* An agent that ends while it asks leaves the terminal without its echo. */
static void end_agent(void)
{
    sigset_t set, old;

    (void)kill(agent_pid, SIGKILL);
    while (waitpid(agent_pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    agent_pid = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGTTOU); /* we may be in the background by now */
    sigprocmask(SIG_BLOCK, &set, &old);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

/* With SA_RESETHAND: the signal comes again when this returns, and does what it does by default. */
static void on_end_signal(int signo)
{
    int saved = errno;

    if (agent_pid > 0)
        end_agent();
    (void)raise(signo);
    errno = saved;
}

/* Those that the verb catches itself, or that are ignored, do not end us. */
static void catch_end_signals(void)
{
    struct sigaction action = {.sa_handler = on_end_signal, .sa_flags = (int)SA_RESETHAND};

    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < ELEMENTSOF(end_signals); i++)
        if (sigaction(end_signals[i], NULL, &before[i]) == 0 && before[i].sa_handler == SIG_DFL)
            (void)sigaction(end_signals[i], &action, NULL);
}

static void restore_end_signals(void)
{
    for (size_t i = 0; i < ELEMENTSOF(end_signals); i++)
        (void)sigaction(end_signals[i], &before[i], NULL);
}

static void start_agent(void)
{
    sigset_t all, old;
    int fds[2];

    if (tcgetattr(STDIN_FILENO, &terminal) < 0 || pipe2(fds, O_CLOEXEC) < 0)
        return;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    agent_pid = fork();
    if (agent_pid == 0) {
        sigprocmask(SIG_SETMASK, &old, NULL);
        run_agent(fds[1]);
    }
    if (agent_pid > 0)
        catch_end_signals();
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(fds[1]);
    if (agent_pid > 0)
        wait_until_registered(fds[0]);
    close(fds[0]);
}

static void open_where(const struct context *c, bool due)
{
    if (c->options.no_ask_password)
        return;
    (void)ptraced_set_interactive(c->connection, true);
    if (due && isatty(STDIN_FILENO))
        start_agent();
}

void agent_open(const struct context *c, const pid_t *pids, size_t n_pids)
{
    open_where(c, is_asked_here(c) && is_due(pids, n_pids));
}

void agent_open_to_manage(const struct context *c)
{
    open_where(c, is_asked_here(c));
}

void agent_close(void)
{
    if (agent_pid <= 0)
        return;
    restore_end_signals();
    end_agent();
}
