/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon/trace/breakpoint.h"
#include "daemon/trace/grant.h"
#include "daemon/trace/image.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/proof.h"
#include "tests/unit/trace-fixture.h"

/* Programs that gain privilege while somebody without it traces them, through a tracer that has
 * all. Those take root, to make such programs; without it they are skipped. */

#define SOMEBODY 65534u

static char directory[] = "/tmp/ptraced-gain-XXXXXX";
static char program[64]; /* what the tracee executes when it is told to */

static volatile struct {
    int go;
    int child;  /* it forks first */
    int thread; /* a thread of its executes */
    int has_thread;
    unsigned usec; /* it waits that long before it executes */
} * shared;

/* ---- Programs ------------------------------------------------------------------------------- */

static void make_program(const char *name, mode_t mode)
{
    struct stat st;
    int from, to;

    snprintf(program, sizeof(program), "%s/%s", directory, name);
    from = open("/bin/sleep", O_RDONLY | O_CLOEXEC);
    to = open(program, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    assert_true(from >= 0 && to >= 0);
    assert_return_code(fstat(from, &st), errno);
    for (off_t sent = 0; sent < st.st_size;) {
        ssize_t n = sendfile(to, from, NULL, (size_t)(st.st_size - sent));

        assert_true(n > 0);
        sent += n;
    }
    assert_return_code(fchmod(to, mode), errno);
    close(from);
    close(to);
}

/* As setcap(8) writes them. */
static int give_capabilities(void)
{
    const struct vfs_cap_data data = {
        .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
        .data = {{.permitted = 1u << CAP_NET_RAW}},
    };

    return setxattr(program, "security.capability", &data, sizeof(data), 0);
}

static void *executes_too(void *unused)
{
    shared->has_thread = 1;
    while (!shared->go)
        usleep(100);
    execl(program, program, "600", NULL);
    _exit(92);
}

/* Without any privilege; then it executes the program. */
static int executes_when_told(int ready)
{
    pthread_t thread;

    if (setgroups(0, NULL) < 0 || setresgid(SOMEBODY, SOMEBODY, SOMEBODY) < 0 ||
        setresuid(SOMEBODY, SOMEBODY, SOMEBODY) < 0)
        return 90;
    prctl(PR_SET_DUMPABLE, 1); /* which the change of user took away */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    child_is_ready(ready);
    while (!shared->go && !shared->thread)
        usleep(100);
    if (shared->thread && pthread_create(&thread, NULL, executes_too, NULL) == 0)
        for (;;)
            pause();
    if (shared->child && fork() != 0)
        for (;;)
            pause();
    usleep(shared->usec);
    execl(program, program, "600", NULL);
    return 91;
}

static pid_t start(const char *name, mode_t mode)
{
    memset((void *)shared, 0, sizeof(*shared));
    make_program(name, mode);
    return fixture_start(executes_when_told);
}

static struct grant *grant_of_somebody(void)
{
    struct grant *g = grant_new(&(uid_t){SOMEBODY}, 1, &(gid_t){SOMEBODY}, 1);

    assert_non_null(g);
    g->user_namespace = proc_read_user_namespace(getpid(), getpid());
    return g;
}

static int attach(struct fixture *f, struct session *s, pid_t pid, struct grant *grant)
{
    const struct attach_options o = {
        .grant = grant, .follow_threads = true, .follow_children = true};
    struct filter filter = FILTER_DEFAULT;

    filter.stops = EVENT_BIT(EVENT_EXEC); /* nobody may hold what is lost */
    return fixture_attach_with(f, s, pid, 0, &filter, o);
}

/* It is told of nothing that came after the exec, and the program runs without us. */
static void assert_lost(struct fixture *f, struct session *s, pid_t pid)
{
    const struct event *e = fixture_find(f, s, EVENT_LOST, 2000);

    assert_non_null(e);
    assert_int_equal(e->pid, pid);
    assert_int_equal(e->lost.reason, LOST_PRIVILEGE);
    assert_true(e->lost.process);
    assert_null(session_find(s, pid));
    fixture_serve_for(f, 20);
    assert_null(event_queue_find(&s->queue, 0, 0));
}

static void assert_runs_alone(struct fixture *f, pid_t pid)
{
    for (int msec = 0; msec < 2000 && proc_tracer(pid) != 0; msec++)
        fixture_serve_for(f, 1);
    assert_int_equal(proc_tracer(pid), 0);
    assert_true(becomes(pid, 'S'));
}

static void assert_is_privileged(pid_t pid)
{
    struct proc_status status;

    assert_return_code(proc_read_status(pid, &status), 0);
    if (status.uids[1] == 0)
        return;
    assert_true(status.permitted != 0);
}

static bool is_root(void)
{
    if (geteuid() == 0)
        return true;
    print_message("skipped: without root there is no program that gains privilege\n");
    return false;
}

/* ---- Exec ----------------------------------------------------------------------------------- */

static void loses_at_exec(void **state, const char *name, mode_t mode, bool capabilities)
{
    struct grant *g = grant_of_somebody();
    struct fixture *f = *state;
    pid_t pid = start(name, mode);

    if (capabilities)
        assert_return_code(give_capabilities(), errno);
    assert_int_equal(attach(f, f->session, pid, g), 1);
    grant_unref(g);
    shared->go = 1;
    assert_lost(f, f->session, pid);
    assert_runs_alone(f, pid);
    if (mode & S_ISUID || capabilities)
        assert_is_privileged(pid);
    fixture_kill(f, pid);
}

static void set_user_id_program_is_lost(void **state)
{
    if (!is_root())
        skip();
    loses_at_exec(state, "set-user-id", 04755, false);
}

static void set_group_id_program_is_lost(void **state)
{
    if (!is_root())
        skip();
    loses_at_exec(state, "set-group-id", 02755, false);
}

static void program_with_file_capabilities_is_lost(void **state)
{
    if (!is_root())
        skip();
    loses_at_exec(state, "capable", 0755, true);
}

static void program_that_may_not_be_read_is_lost(void **state)
{
    if (!is_root())
        skip();
    loses_at_exec(state, "unreadable", 0711, false);
}

static void ordinary_program_is_kept(void **state)
{
    struct grant *g;
    struct fixture *f = *state;
    const struct event *e;
    pid_t pid;

    if (!is_root())
        skip();
    g = grant_of_somebody();
    pid = start("ordinary", 0755);
    assert_int_equal(attach(f, f->session, pid, g), 1);
    grant_unref(g);
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_EXEC, 2000);
    assert_non_null(e);
    assert_true(e->stopped);
    assert_int_equal(fixture_continue(f, f->session, pid, pid), 1);
    assert_non_null(session_find(f->session, pid));
    fixture_kill(f, pid);
}

/* What the thread stands at in its exec stop, which nobody has looked at, is the new program. */
static void wait_until_privileged(pid_t pid)
{
    struct proc_status status = {.uids = {SOMEBODY, SOMEBODY}};

    for (int msec = 0; msec < 5000 && status.uids[1] != 0; msec++) {
        usleep(1000);
        assert_return_code(proc_read_status(pid, &status), 0);
    }
    assert_int_equal(status.uids[1], 0);
}

/* Some address that the program has for sure; of a thread that stands nothing is written there. */
static uint64_t address_in(pid_t pid)
{
    unsigned long start = 0;
    char path[32];
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    maps = fopen(path, "re");
    assert_non_null(maps);
    assert_int_equal(fscanf(maps, "%lx", &start), 1);
    fclose(maps);
    return start;
}

static int open_memory(pid_t pid)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_return_code(fd, errno);
    return fd;
}

static void assert_out_of_reach(struct fixture *f, pid_t pid)
{
    struct process *p = process_find(f->trace, pid);
    const struct breakpoint_options o = {.address = address_in(pid)};
    uint8_t byte = 0;
    uint32_t id;
    int fd = -1;

    assert_int_equal(memory_read(p, o.address, &byte, 1), -EACCES);
    assert_int_equal(memory_write(p, o.address, &byte, 1), -EACCES);
    assert_int_equal(image_open(p, "maps", O_RDONLY, &fd), -EACCES);
    assert_true(breakpoint_add(f->trace, session_find(f->session, pid), &o, &id) < 0);
}

static void wait_for_another_program(pid_t pid, const char *first, ssize_t size)
{
    char path[PATH_MAX];
    ssize_t n = size;

    memcpy(path, first, (size_t)size);
    for (int msec = 0; msec < 5000 && n == size && memcmp(path, first, (size_t)n) == 0; msec++) {
        usleep(1000);
        n = proc_read_program(pid, pid, path);
        assert_true(n > 0);
    }
}

static void program_that_is_granted_alone_is_lost_with_the_next(void **state)
{
    struct grant *g;
    struct fixture *f = *state;
    char path[PATH_MAX];
    ssize_t n;
    pid_t pid;

    if (!is_root())
        skip();
    g = grant_of_somebody();
    assert_return_code(grant_set_program(g, "/bin/another", strlen("/bin/another")), 0);
    pid = start("next", 0755);
    assert_int_equal(attach(f, f->session, pid, g), -EKEYREJECTED);
    assert_runs_alone(f, pid);
    n = proc_read_program(pid, pid, path);
    assert_true(n > 0);
    assert_return_code(grant_set_program(g, path, (size_t)n), 0);
    assert_int_equal(attach(f, f->session, pid, g), 1);
    grant_unref(g);
    shared->go = 1;
    wait_for_another_program(pid, path, n);
    assert_out_of_reach(f, pid);
    assert_lost(f, f->session, pid);
    assert_runs_alone(f, pid);
    fixture_kill(f, pid);
}

static void child_that_gains_privilege_is_lost_and_its_parent_kept(void **state)
{
    struct grant *g;
    struct fixture *f = *state;
    const struct event *e;
    pid_t pid, child;

    if (!is_root())
        skip();
    g = grant_of_somebody();
    pid = start("of-child", 04755);
    shared->child = 1;
    assert_int_equal(attach(f, f->session, pid, g), 1);
    grant_unref(g);
    shared->go = 1;
    e = fixture_find(f, f->session, EVENT_FORK, 2000);
    assert_non_null(e);
    child = e->child.tid;
    assert_lost(f, f->session, child);
    assert_runs_alone(f, child);
    assert_is_privileged(child);
    assert_non_null(session_find(f->session, pid));
    kill(child, SIGKILL);
    fixture_kill(f, pid);
}

static void memory_of_a_program_whose_exec_nobody_has_looked_at_is_out_of_reach(void **state)
{
    struct grant *g;
    struct fixture *f = *state;
    uint8_t byte;
    pid_t pid;
    int proof;

    if (!is_root())
        skip();
    g = grant_of_somebody();
    pid = start("unseen", 04755);
    proof = open_memory(pid);
    assert_int_equal(attach(f, f->session, pid, g), 1);
    grant_unref(g);
    assert_int_equal(memory_read(process_find(f->trace, pid), address_in(pid), &byte, 1), 1);
    shared->go = 1;
    wait_until_privileged(pid);
    assert_out_of_reach(f, pid);
    assert_int_equal(proof_check(process_find(f->trace, pid), proof, false), -EKEYREJECTED);
    close(proof);
    assert_lost(f, f->session, pid);
    assert_runs_alone(f, pid);
    fixture_kill(f, pid);
}

/* The kernel buries the leader, and tells nobody. */
static void program_that_an_untraced_thread_executes_is_out_of_reach(void **state)
{
    struct attach_options o = {0};
    struct fixture *f = *state;
    pid_t pid;

    if (!is_root())
        skip();
    o.grant = grant_of_somebody();
    shared->go = 0;
    pid = start("of-a-thread", 04755);
    shared->thread = 1;
    while (!shared->has_thread)
        usleep(100);
    assert_int_equal(fixture_attach_with(f, f->session, pid, pid, &FILTER_DEFAULT, o), 1);
    grant_unref(o.grant);
    shared->go = 1;
    for (int msec = 0; msec < 200; msec++)
        fixture_serve_for(f, 1);
    wait_until_privileged(pid);
    if (session_find(f->session, pid))
        assert_out_of_reach(f, pid);
    fixture_kill(f, pid);
}

static void session_that_may_trace_everything_keeps_what_another_one_loses(void **state)
{
    struct grant *g;
    struct fixture *f = *state;
    struct session *other;
    const struct event *e;
    pid_t pid;

    if (!is_root())
        skip();
    g = grant_of_somebody();
    pid = start("shared", 04755);
    other = session_new(f->trace, 1024, true, NULL);
    assert_int_equal(attach(f, f->session, pid, g), 1);
    assert_int_equal(attach(f, other, pid, NULL), 1);
    grant_unref(g);
    shared->go = 1;
    assert_lost(f, f->session, pid);
    e = fixture_find(f, other, EVENT_EXEC, 2000);
    assert_non_null(e);
    assert_true(e->stopped);
    assert_int_equal(fixture_continue(f, other, pid, pid), 1);
    fixture_kill(f, pid);
    trace_detach_session(f->trace, other);
    session_free(f->trace, other);
}

/* ---- Attach --------------------------------------------------------------------------------- */

static void program_that_has_gained_privilege_is_not_attached(void **state)
{
    struct grant *g;
    struct fixture *f = *state;
    struct proc_status status = {.uids = {SOMEBODY, SOMEBODY}};
    pid_t pid;

    if (!is_root())
        skip();
    g = grant_of_somebody();
    pid = start("before", 04755);
    shared->go = 1;
    for (int msec = 0; msec < 2000 && status.uids[1] != 0; msec++) {
        usleep(1000);
        assert_return_code(proc_read_status(pid, &status), 0);
    }
    assert_is_privileged(pid);
    assert_int_equal(attach(f, f->session, pid, g), -EKEYREJECTED);
    grant_unref(g);
    assert_null(session_find(f->session, pid));
    assert_runs_alone(f, pid);
    fixture_kill(f, pid);
}

static unsigned get_rounds(void)
{
    const char *s = getenv("PTRACED_TEST_ROUNDS");

    return s ? (unsigned)strtoul(s, NULL, 10) : 200;
}

/* Whichever comes first, the session sees nothing of it. */
static void exec_that_races_with_an_attach_is_not_seen(void **state)
{
    struct grant *g;
    unsigned n = 10 * get_rounds(), refused = 0;
    struct fixture *f = *state;

    if (!is_root())
        skip();
    g = grant_of_somebody();
    make_program("racing", 04755);
    for (unsigned i = 0; i < n; i++) {
        pid_t pid;
        int r;

        memset((void *)shared, 0, sizeof(*shared));
        pid = fixture_start(executes_when_told);
        if (i % 4 == 0) /* an attach is fast, and has to come first sometimes */
            shared->usec = i * 37 % 400;
        shared->go = 1;
        if (i % 4 != 0)
            usleep(i * 37 % 400);
        r = attach(f, f->session, pid, g);
        if (r == -EKEYREJECTED)
            refused++;
        else {
            assert_int_equal(r, 1);
            assert_lost(f, f->session, pid);
        }
        assert_null(session_find(f->session, pid));
        assert_runs_alone(f, pid);
        assert_is_privileged(pid);
        fixture_kill(f, pid);
    }
    grant_unref(g);
    print_message("%u of %u were refused, the others lost\n", refused, n);
    assert_in_range(refused, 1, n - 1);
}

static int setup_group(void **state)
{
    if (!mkdtemp(directory))
        return -1;
    return chmod(directory, 0755);
}

static int teardown_group(void **state)
{
    char command[sizeof(directory) + 16];

    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(set_user_id_program_is_lost),
        TEST(set_group_id_program_is_lost),
        TEST(program_with_file_capabilities_is_lost),
        TEST(program_that_may_not_be_read_is_lost),
        TEST(ordinary_program_is_kept),
        TEST(child_that_gains_privilege_is_lost_and_its_parent_kept),
        TEST(memory_of_a_program_whose_exec_nobody_has_looked_at_is_out_of_reach),
        TEST(program_that_an_untraced_thread_executes_is_out_of_reach),
        TEST(program_that_is_granted_alone_is_lost_with_the_next),
        TEST(session_that_may_trace_everything_keeps_what_another_one_loses),
        TEST(program_that_has_gained_privilege_is_not_attached),
        TEST(exec_that_races_with_an_attach_is_not_seen),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("gain", tests, setup_group, teardown_group);
}
