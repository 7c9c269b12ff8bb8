/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick of breakpoints whose condition does not hold, in a program of one thread. At each
 * hit it reads the registers, compares one of them, and gets past the breakpoint
 *
 *     --how=step       by taking it out, stepping, and inserting it again
 *     --how=emulate    by doing itself what the instruction does, which is push %rbp */

#include <errno.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "tests/bench/job.h"
#include "tests/bench/tracees.h"

#define INT3 0xccul
#define BYTE_MASK 0xfful
/* What the program never passes to the function with the breakpoint. */
#define CONDITION UINT64_MAX

struct breakpoint {
    unsigned long address;
    unsigned long original; /* the word at the address */
};

static int request(int request, pid_t tid, unsigned long address, unsigned long data)
{
    return ptrace(request, tid, address, data) < 0 ? -errno : 0;
}

static int insert(pid_t tid, const struct breakpoint *b)
{
    return request(PTRACE_POKETEXT, tid, b->address, (b->original & ~BYTE_MASK) | INT3);
}

static int take_out(pid_t tid, const struct breakpoint *b)
{
    return request(PTRACE_POKETEXT, tid, b->address, b->original);
}

static int rewind_pc(pid_t tid, const struct breakpoint *b)
{
    return request(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, rip), b->address);
}

static int step_over(pid_t tid, const struct breakpoint *b)
{
    siginfo_t si;
    int r;

    r = rewind_pc(tid, b);
    if (r < 0)
        return r;
    r = take_out(tid, b);
    if (r < 0)
        return r;
    r = request(PTRACE_SINGLESTEP, tid, 0, 0);
    if (r < 0)
        return r;
    r = tracees_wait(tid, &si);
    return r < 0 ? r : insert(tid, b);
}

/* The instruction is as long as an int3, so that the program counter is right already. */
static int emulate_push(pid_t tid, const struct user_regs_struct *regs)
{
    const unsigned long sp = regs->rsp - sizeof(long);
    int r;

    r = request(PTRACE_POKEDATA, tid, sp, regs->rbp);
    if (r < 0)
        return r;
    return request(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, rsp), sp);
}

/* Waits for the next hit. */
static int next_hit(struct job *j, const struct breakpoint *b, struct user_regs_struct *ret)
{
    siginfo_t si;
    int r;

    r = tracees_wait(j->pid, &si);
    if (r < 0)
        return r;
    if (ptrace(PTRACE_GETREGS, j->pid, NULL, ret) < 0)
        return -errno;
    if (si.si_status != SIGTRAP || ret->rip != b->address + 1 || ret->rdi == CONDITION)
        return -EPROTO;
    j->n_stops++;
    return 0;
}

static int serve(struct job *j, const struct breakpoint *b)
{
    const bool emulate = job_is(j, "emulate");
    struct user_regs_struct regs;
    int r;

    for (;;) {
        r = next_hit(j, b, &regs);
        if (r < 0)
            return r;
        if (job_is_over(j))
            return 0;
        r = emulate ? emulate_push(j->pid, &regs) : step_over(j->pid, b);
        if (r < 0)
            return r;
        r = request(PTRACE_CONT, j->pid, 0, 0);
        if (r < 0)
            return r;
    }
}

static int start(struct job *j, struct tracees *t, struct breakpoint *b)
{
    int r;

    r = tracees_seize(t, j->pid, 0);
    if (r < 0)
        return r;
    r = tracees_stop(t);
    if (r < 0)
        return r;
    errno = 0;
    b->original = (unsigned long)ptrace(PTRACE_PEEKTEXT, j->pid, b->address, NULL);
    if (errno != 0)
        return -errno;
    r = insert(j->pid, b);
    return r < 0 ? r : tracees_resume(t, PTRACE_CONT);
}

static int run(struct job *j)
{
    __attribute__((__cleanup__(tracees_done))) struct tracees t = {0};
    struct breakpoint b = {.address = j->address};
    int r;

    r = start(j, &t, &b);
    if (r < 0)
        return r;
    job_begin(j);
    r = serve(j, &b);
    if (r < 0)
        return r;
    job_print_stops(j);
    /* It stands at the hit that came last. */
    r = rewind_pc(j->pid, &b);
    if (r < 0)
        return r;
    r = take_out(j->pid, &b);
    return r < 0 ? r : tracees_resume(&t, PTRACE_DETACH);
}

int main(int argc, char *argv[])
{
    return job_main(argc, argv, run);
}
