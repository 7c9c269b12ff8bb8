/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/wait.h"
#include "tests/unit/regs-fixture.h"

static siginfo_t wait_for_stop(pid_t pid)
{
    siginfo_t info;

    assert_int_equal(wait_thread(pid, 0, &info), 1);
    assert_int_equal(info.si_code, CLD_TRAPPED);
    return info;
}

void child_interrupt(struct child *c)
{
    assert_return_code(ptrace_ops_interrupt(c->pid), 0);
    wait_for_stop(c->pid);
}

void child_start(struct child *c, const char *program)
{
    char line[64];
    int fds[2];

    arch_xsave_probe(&c->xsave);
    assert_return_code(pipe(fds), errno);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl(program, program, NULL);
        _exit(98);
    }
    close(fds[1]);
    c->out = fdopen(fds[0], "r");
    assert_non_null(c->out);
    assert_non_null(fgets(line, sizeof(line), c->out));
    c->avx = strcmp(line, "ready avx\n") == 0;
    assert_return_code(ptrace_ops_seize(c->pid, 0), 0);
}

void child_start_function(struct child *c, int (*function)(void))
{
    arch_xsave_probe(&c->xsave);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(function());
    }
    assert_return_code(ptrace_ops_seize(c->pid, 0), 0);
}

void child_finish(struct child *c)
{
    siginfo_t info;

    kill(c->pid, SIGKILL);
    while (wait_thread(c->pid, 0, &info) == 1)
        if (info.si_code != CLD_TRAPPED)
            break;
    if (c->out)
        fclose(c->out);
}

uint64_t child_number(struct regs *r, const char *name)
{
    uint64_t value = 0;
    const struct arch_register *reg = arch_find_register(r->arch, name);

    assert_non_null(reg);
    assert_return_code(regs_get_register(r, reg, &value, reg->size), 0);
    return value;
}
