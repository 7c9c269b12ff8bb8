/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>

#include "client/lib/fork.h"
#include "client/lib/internal.h"
#include "config.h"

/* Embedded mode: a broker and a keeper of the connection's own.
 *
 *     caller ──C── ptraced --embedded ──K── ptraced-keeper --embedded
 *
 * A helper process, which the caller's program cannot see, forks both and ends at once, so that
 * neither is a child of the caller. It leads a session of its own, so that no key on the caller's
 * terminal reaches them. Who dies closes its sockets, and that is all the others need to know. */

/* The pipe stays open beyond the exec where another thread forked meanwhile and does not exec. Its
 * copy does no harm: what there was to report has come long since. */
#define START_MSEC 5000

enum program { BROKER, KEEPER, N_PROGRAMS };

/* What the broker and the keeper find where (docs/architecture.md). */
enum {
    FD_SERVICE = 3, /* towards who asked for the program */
    FD_KEEPER = 4,  /* the broker's towards the keeper */
};

/* From the helper and from the programs before their exec. All are written at once, each whole. */
struct report {
    enum program program;
    pid_t pid; /* it was started */
    int error; /* or it was not */
};

struct embedding {
    char paths[N_PROGRAMS][PATH_MAX];
    int client;  /* C, the caller's end */
    int service; /* C, the broker's */
    int orders;  /* K, the broker's end */
    int keeper;  /* K, the keeper's */
    int report_in;
    int report_out;
    int null;
};

static void embedding_done(struct embedding *e)
{
    int fds[] = {e->client, e->service, e->orders, e->keeper, e->report_in, e->report_out, e->null};

    for (size_t i = 0; i < ELEMENTSOF(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* ---- Where the programs are ---- */

/* The build tree that this library was loaded from, if it was. A program that runs with more than
 * its caller's rights does not look: the caller may have had a say in the library's path. */
static bool in_build_tree(struct embedding *e)
{
    static const char in_tree[] = "/client/lib";
    _cleanup_free_string_ char *library = NULL;
    Dl_info info;
    size_t n;
    char *end;

    if (getauxval(AT_SECURE) || !dladdr((const void *)ptraced_open_embedded, &info) ||
        !info.dli_fname)
        return false;
    library = realpath(info.dli_fname, NULL);
    end = library ? strrchr(library, '/') : NULL;
    if (!end)
        return false;
    *end = '\0';
    n = strlen(library);
    if (n < strlen(in_tree) || strcmp(library + n - strlen(in_tree), in_tree) != 0)
        return false;
    library[n - strlen(in_tree)] = '\0';

    if (snprintf(e->paths[BROKER], PATH_MAX, "%s/daemon/broker/ptraced", library) >= PATH_MAX ||
        snprintf(e->paths[KEEPER], PATH_MAX, "%s/daemon/keeper/ptraced-keeper", library) >=
            PATH_MAX)
        return false;
    return access(e->paths[BROKER], X_OK) == 0;
}

static void find_programs(struct embedding *e)
{
    if (in_build_tree(e))
        return;
    strcpy(e->paths[BROKER], PTRACED_LIBEXECDIR "/ptraced");
    strcpy(e->paths[KEEPER], PTRACED_LIBEXECDIR "/ptraced-keeper");
}

/* ---- Sockets ---- */

static int open_pair(int *ret_a, int *ret_b)
{
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    *ret_a = pair[0];
    *ret_b = pair[1];
    r = fd_move_away(ret_a);
    return r < 0 ? r : fd_move_away(ret_b);
}

static int open_descriptors(struct embedding *e)
{
    int report[2], r;

    r = open_pair(&e->client, &e->service);
    if (r < 0)
        return r;
    r = open_pair(&e->orders, &e->keeper);
    if (r < 0)
        return r;
    if (pipe2(report, O_CLOEXEC) < 0)
        return -errno;
    e->report_in = report[0];
    e->report_out = report[1];
    r = fd_move_away(&e->report_out);
    if (r < 0)
        return r;
    e->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (e->null < 0)
        return -errno;
    return fd_move_away(&e->null);
}

/* ---- In the helper and in the programs: async-signal-safe only ---- */

static void report(const struct embedding *e, enum program program, pid_t pid, int error)
{
    const struct report report = {.program = program, .pid = pid, .error = error};

    /* Where nobody listens any more nobody needs it. */
    (void)!write(e->report_out, &report, sizeof(report));
}

/* No input; what there is to say goes to the caller's standard error, where it has one. */
static int give_stdio(const struct embedding *e)
{
    if (dup2(e->null, STDIN_FILENO) < 0)
        return -errno;
    if (fcntl(STDERR_FILENO, F_GETFD) < 0 && dup2(e->null, STDERR_FILENO) < 0)
        return -errno;
    return dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ? -errno : 0;
}

/* Puts the descriptors where the program looks for them, and what tells of a failed exec behind. */
static int give_sockets(struct embedding *e, enum program program)
{
    int behind = program == BROKER ? FD_KEEPER + 1 : FD_SERVICE + 1;

    if (dup2(program == BROKER ? e->service : e->keeper, FD_SERVICE) < 0)
        return -errno;
    if (program == BROKER && dup2(e->orders, FD_KEEPER) < 0)
        return -errno;
    if (dup3(e->report_out, behind, O_CLOEXEC) < 0)
        return -errno;
    e->report_out = behind;
    fds_close_from(behind + 1);
    return 0;
}

static _Noreturn void run_program(struct embedding *e, enum program program)
{
    char *argv[] = {e->paths[program], (char *)"--embedded", NULL};
    int r;

    r = give_stdio(e);
    if (r >= 0)
        r = give_sockets(e, program);
    if (r >= 0) {
        execve(argv[0], argv, environ);
        r = -errno;
    }
    report(e, program, 0, -r);
    _exit(EXIT_FAILURE);
}

static void start_program(struct embedding *e, enum program program)
{
    int pidfd = -1;
    pid_t pid = fork_pidfd(SIGCHLD, &pidfd);

    if (pid == 0)
        run_program(e, program);
    report(e, program, pid > 0 ? pid : 0, pid < 0 ? -pid : 0);
}

static _Noreturn void run_helper(struct embedding *e)
{
    sigset_t none;

    (void)setsid();
    (void)!chdir("/");
    signals_reset(false);
    sigemptyset(&none);
    signals_restore(&none);
    start_program(e, KEEPER);
    start_program(e, BROKER);
    _exit(EXIT_SUCCESS);
}

/* ---- In the caller ---- */

/* 1 with a report, 0 where none will come. */
static int read_report(const struct embedding *e, struct report *ret)
{
    struct pollfd fd = {.fd = e->report_in, .events = POLLIN};
    ssize_t n;
    int r;

    do
        r = poll(&fd, 1, START_MSEC);
    while (r < 0 && errno == EINTR);
    if (r <= 0)
        return r < 0 ? -errno : 0;
    n = read(e->report_in, ret, sizeof(*ret));
    if (n < 0)
        return -errno;
    if (n == 0)
        return 0;
    return n == sizeof(*ret) && ret->program < N_PROGRAMS ? 1 : -EBADMSG;
}

/* Reads until both programs are executed, which closes the pipe. */
static int read_reports(const struct embedding *e, pid_t *ret_keeper)
{
    pid_t pids[N_PROGRAMS] = {0};
    struct report report;
    int error = 0, r;

    while ((r = read_report(e, &report)) > 0) {
        if (report.error)
            error = report.error;
        else
            pids[report.program] = report.pid;
    }
    if (r < 0)
        return r;
    if (error)
        return -error;
    if (pids[BROKER] == 0 || pids[KEEPER] == 0)
        return -ECHILD;
    *ret_keeper = pids[KEEPER];
    return 0;
}

static int start_helper(struct embedding *e)
{
    _cleanup_close_fd_ int pidfd = -1;
    sigset_t before;
    pid_t pid;

    signals_block(&before);
    pid = fork_pidfd(0, &pidfd);
    if (pid == 0)
        run_helper(e);
    signals_restore(&before);
    if (pid < 0)
        return pid;
    reap_pidfd(pidfd);
    return 0;
}

_public_ int ptraced_open_embedded(ptraced **ret)
{
    _cleanup_(embedding_done) struct embedding e = {
        .client = -1,
        .service = -1,
        .orders = -1,
        .keeper = -1,
        .report_in = -1,
        .report_out = -1,
        .null = -1,
    };
    pid_t keeper = 0;
    int r;

    find_programs(&e);
    r = open_descriptors(&e);
    if (r < 0)
        return r;
    r = start_helper(&e);
    if (r < 0)
        return r;
    close(TAKE_FD(e.report_out));
    r = read_reports(&e, &keeper);
    if (r < 0)
        return r;
    r = connection_new_fd(TAKE_FD(e.client), PTRACED_TRANSPORT_EMBEDDED, ret);
    if (r < 0)
        return r;
    (*ret)->keeper = keeper;
    return 0;
}
