/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/trace/block-step.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"

#define PATIENCE_MSEC 200u /* for each of the two stops */

/* The child spins here until it is interrupted, and is put on the line then: three instructions
 * that do nothing, and a branch. */
_Noreturn void block_step_spin(void);
extern const char block_step_line[];

#if defined(__x86_64__) || defined(__i386__)
#define BRANCH "jmp"
#define TYPE "@function"
#else
#define BRANCH "b"
#define TYPE "%function"
#endif

__asm__(".text\n"
        ".type block_step_spin, " TYPE "\n"
        "block_step_spin:\n"
        "    " BRANCH " block_step_spin\n"
        "block_step_line:\n"
        "    nop\n"
        "    nop\n"
        "    nop\n"
        "    " BRANCH " block_step_spin\n"
        ".size block_step_spin, . - block_step_spin\n");

/* Without an exit signal: nothing tells the tracer's loop of it. */
static pid_t start_child(void)
{
    pid_t parent = getpid();
    long pid = syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);

    if (pid != 0)
        return pid < 0 ? -errno : (pid_t)pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    block_step_spin();
}

/* Whatever becomes of it: it was only made for this. */
static void end_child(pid_t pid)
{
    siginfo_t report;

    (void)kill(pid, SIGKILL);
    do
        if (wait_thread(pid, 0, &report) < 0)
            return;
    while (report.si_code == CLD_TRAPPED || report.si_code == CLD_STOPPED);
}

/* Its next stop. */
static int wait_for_stop(pid_t pid)
{
    const struct timespec moment = {.tv_nsec = 20000};
    uint64_t patience = PATIENCE_MSEC * UINT64_C(1000000) / (uint64_t)moment.tv_nsec;
    siginfo_t report;
    struct stop stop;
    int r = 0;

    for (; r == 0 && patience > 0; patience--) {
        r = wait_thread(pid, WNOHANG, &report);
        if (r == 0)
            (void)nanosleep(&moment, NULL);
    }
    if (r <= 0)
        return r < 0 ? r : -ETIMEDOUT;
    stop_decode(&report, &stop);
    return stop_is_end(stop.kind) ? -ESRCH : 0;
}

static int put_on_line(pid_t pid)
{
    int r = ptrace_ops_seize(pid, PTRACE_O_EXITKILL);

    if (r >= 0)
        r = ptrace_ops_interrupt(pid);
    if (r >= 0)
        r = wait_for_stop(pid);
    return r < 0 ? r : regs_write_role(pid, ARCH_PC, (uintptr_t)block_step_line);
}

static int probe_child(pid_t pid, enum block_step *ret)
{
    uint64_t pc;
    int r = put_on_line(pid);

    if (r < 0)
        return r;
    r = ptrace_ops_block_step(pid, 0);
    if (r == -EIO) {
        *ret = BLOCK_STEP_NONE;
        return 0;
    }
    if (r >= 0)
        r = wait_for_stop(pid);
    if (r >= 0)
        r = regs_read_role(pid, ARCH_PC, &pc);
    if (r < 0)
        return r;
    *ret = pc == (uintptr_t)block_step_spin ? BLOCK_STEP_BLOCK : BLOCK_STEP_INSTRUCTION;
    return 0;
}

int block_step_probe(enum block_step *ret)
{
    pid_t pid = start_child();
    int r;

    if (pid < 0)
        return pid;
    r = probe_child(pid, ret);
    end_child(pid);
    return r;
}
