/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/trace/proof.h"
#include "tests/unit/trace-fixture.h"

/* What proves that the kernel lets somebody trace a process, and what does not. */

static volatile struct {
    int go;
    pid_t child;
} * shared;

static int executes_when_told(int ready)
{
    child_is_ready(ready);
    while (!shared->go)
        usleep(100);
    execl("/bin/sleep", "sleep", "60", NULL);
    return 1;
}

/* The child is there before its parent goes on, in its parent's memory. */
static int vforks(int ready)
{
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): the situation */

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        shared->child = getpid();
        child_is_ready(ready);
        while (!shared->go)
            ;
        execl("/bin/sleep", "sleep", "60", NULL);
        _exit(1);
    }
    for (;;)
        pause();
    return 0;
}

static int open_memory(pid_t pid, int flags)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, flags | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int check(const struct process *p, int fd, bool observe)
{
    int r = proof_check(p, fd, observe);

    close(fd);
    return r;
}

static const struct process *attach(struct fixture *f, pid_t pid)
{
    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    return process_find(f->trace, pid);
}

static pid_t start(int (*child)(int))
{
    memset((void *)shared, 0, sizeof(*shared));
    return fixture_start(child);
}

static void descriptor_of_the_process_proves_what_it_is_open_for(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(executes_when_told);
    const struct process *p = attach(f, pid);

    assert_int_equal(check(p, open_memory(pid, O_RDWR), false), 0);
    assert_int_equal(check(p, open_memory(pid, O_RDWR), true), 0);
    assert_int_equal(check(p, open_memory(pid, O_RDONLY), true), 0);
    assert_int_equal(check(p, open_memory(pid, O_RDONLY), false), -ENOKEY);
    assert_int_equal(check(p, open_memory(pid, O_WRONLY), false), -ENOKEY);
    assert_int_equal(check(p, open_memory(pid, O_PATH), true), -ENOKEY);
    assert_int_equal(proof_check(p, -1, true), -ENOKEY);
    fixture_kill(f, pid);
}

static void descriptor_of_anything_else_proves_nothing(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(executes_when_told);
    const struct process *p = attach(f, pid);
    int fds[2];

    assert_int_equal(check(p, open_memory(getpid(), O_RDWR), false), -ENOKEY);
    assert_int_equal(check(p, memfd_create("mem", 0), false), -ENOKEY);
    assert_return_code(pipe(fds), errno);
    assert_int_equal(check(p, fds[0], true), -ENOKEY);
    assert_int_equal(check(p, fds[1], false), -ENOKEY);
    fixture_kill(f, pid);
}

static void descriptor_from_before_an_exec_proves_nothing(void **state)
{
    struct fixture *f = *state;
    pid_t pid = start(executes_when_told);
    int fd = open_memory(pid, O_RDWR);
    const struct process *p = attach(f, pid);

    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXEC, 2000));
    assert_int_equal(check(p, fd, false), -ENOKEY);
    assert_int_equal(check(p, open_memory(pid, O_RDWR), false), 0);
    fixture_kill(f, pid);
}

/* It still reads: the parent's memory lives on. */
static void descriptor_of_a_vfork_childs_former_memory_proves_nothing(void **state)
{
    struct fixture *f = *state;
    pid_t parent = start(vforks), pid = shared->child;
    const struct process *p = attach(f, pid);
    int fd = open_memory(pid, O_RDWR), go = 0;

    assert_int_equal(check(p, open_memory(pid, O_RDWR), false), 0);
    shared->go = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXEC, 2000));
    assert_int_equal(pread(fd, &go, sizeof(go), (off_t)(uintptr_t)&shared->go), sizeof(go));
    assert_int_equal(go, 1);
    assert_int_equal(check(p, fd, false), -ENOKEY);
    assert_int_equal(check(p, open_memory(pid, O_RDWR), false), 0);
    kill(pid, SIGKILL);
    fixture_kill(f, parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(descriptor_of_the_process_proves_what_it_is_open_for),
        TEST(descriptor_of_anything_else_proves_nothing),
        TEST(descriptor_from_before_an_exec_proves_nothing),
        TEST(descriptor_of_a_vfork_childs_former_memory_proves_nothing),
#undef TEST
    };

    shared = fixture_share(sizeof(*shared));
    if (!shared)
        return 1;
    return cmocka_run_group_tests_name("proof", tests, NULL, NULL);
}
