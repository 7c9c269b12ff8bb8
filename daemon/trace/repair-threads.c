/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "daemon/trace/event.h"
#include "daemon/trace/hardware.h"
#include "daemon/trace/insn-cpu.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/repair-text.h"
#include "daemon/trace/space.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"

/* For one thread to stand; who sleeps in the kernel beyond that has nothing to be set right. A
 * thread that only waits for a processor is waited for longer. */
#define SLEEPER_PATIENCE_USEC (100 * 1000)
#define PATIENCE_USEC (3 * 1000 * 1000)
#define THREADS_MAX 65536u
#define ROUNDS_MAX 16 /* stops on the way to the one that is waited for */

struct thread {
    pid_t tid;
    bool stands;
    struct stop stop;
    int deliver; /* the signal that it stands at, which is its program's */
};

/* One patient under treatment. */
struct ward {
    const struct repair_text *repair;
    const struct patient *patient;
    struct arch_xsave xsave;
    struct thread *threads;
    size_t n;
    bool was_stopped;
};

static bool sleeps(pid_t tid)
{
    struct proc_status status;

    return proc_read_status(tid, &status) < 0 || status.state == 'D' || status.state == 'Z';
}

static bool wait_for_stop(const struct ward *w, struct thread *t)
{
    const uint64_t start = event_now_usec();
    const struct timespec nap = {.tv_nsec = 2 * 1000 * 1000};
    sigset_t mask;
    siginfo_t wait;

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    t->stands = false;
    do {
        int r = wait_thread(t->tid, WNOHANG, &wait);

        if (r < 0 && r != -EINTR)
            return false;
        if (r > 0) {
            stop_decode(&wait, &t->stop);
            t->stands = !stop_is_end(t->stop.kind);
            return t->stands;
        }
        (void)sigtimedwait(&mask, NULL, &nap);
    } while (event_now_usec() < w->repair->end_usec &&
             event_now_usec() - start < (sleeps(t->tid) ? SLEEPER_PATIENCE_USEC : PATIENCE_USEC));
    return false;
}

/* What it stands at, where that belongs to its program. */
static void judge_signal(struct thread *t)
{
    siginfo_t info;

    t->deliver = 0;
    if (t->stop.kind != STOP_SIGNAL_DELIVERY || ptrace_ops_get_siginfo(t->tid, &info) < 0)
        return;
    if (t->stop.signo == SIGTRAP && info.si_code > 0)
        return;
    if (t->stop.signo == SIGSTOP && info.si_pid == getpid())
        return;
    t->deliver = t->stop.signo;
}

static bool has_trap_waiting(pid_t tid)
{
    siginfo_t waiting[8];
    int n = ptrace_ops_peek_siginfo(tid, waiting, ARRAY_LENGTH(waiting));

    for (int i = 0; i < n; i++)
        if (waiting[i].si_signo == SIGTRAP && waiting[i].si_code > 0)
            return true;
    return false;
}

static bool is_at_trap(const struct thread *t)
{
    return t->stop.kind == STOP_SIGNAL_DELIVERY && t->stop.signo == SIGTRAP && t->deliver == 0;
}

/* ---- Where a thread is --------------------------------------------------------------------- */

/* Its SIGTRAP was collected by the tracer, in its last moment or after it, and not dealt with. */
static bool was_trapped(const struct repair_text *r, pid_t tid)
{
    const siginfo_t *waits = ledger_last_waits(r->ledger);
    struct stop stop;

    if (r->trapped == tid)
        return true;
    for (unsigned i = 0; i < LEDGER_LAST_WAITS; i++) {
        if (waits[i].si_pid != tid)
            continue;
        stop_decode(&waits[i], &stop);
        if (stop.kind == STOP_SIGNAL_DELIVERY && stop.signo == SIGTRAP)
            return true;
    }
    return false;
}

static const struct insn_copy *find_copy(const struct ward *w, pid_t tid)
{
    for (size_t i = 0; i < w->repair->n_patches; i++) {
        const struct ledger_text *text = &w->repair->patches[i].text;

        if (text->pid == w->patient->text_of && text->through == tid)
            return &text->copy;
    }
    return NULL;
}

/* Moves back who is in a copy, or stands where it has led. Of a copy that was left already, or not
 * entered yet, nothing is to be done. */
static void leave_copy(pid_t tid, struct regs *regs, const struct insn_copy *copy)
{
    struct regs_set *set = &regs->sets[ARCH_GENERAL];
    struct insn_memory store = {0};
    struct insn_cpu cpu;
    enum insn_isa isa;

    if (insn_cpu_load(regs->arch, set->bytes, &cpu, &isa) < 0 || cpu.ip < copy->to ||
        cpu.ip > copy->to + SCRATCH_SIZE)
        return;
    (void)insn_leave(copy, &cpu, &store);
    if (store.size > 0) {
        struct iovec local = {&store.value, store.size};
        struct iovec remote = {(void *)(uintptr_t)store.address, store.size};

        (void)!process_vm_writev(tid, &local, 1, &remote, 1, 0);
    }
    insn_cpu_store(regs->arch, &cpu, set->bytes);
    (void)ptrace_ops_set_regset(tid, NT_PRSTATUS, set->bytes, set->size);
}

static void set_right(const struct ward *w, const struct thread *t, bool hit)
{
    const struct insn_copy *copy = find_copy(w, t->tid);
    struct regs regs = {0};
    uint64_t at;

    if (regs_open(t->tid, &w->xsave, &regs) < 0)
        return;
    at = arch_get_role(regs.arch, ARCH_PC, regs.sets[ARCH_GENERAL].bytes) -
         regs.arch->breakpoint_behind;
    if (copy)
        leave_copy(t->tid, &regs, copy);
    else if (hit && regs.arch->breakpoint_behind > 0 &&
             repair_text_is_active(w->repair, w->patient, at))
        (void)regs_write_role(t->tid, ARCH_PC, at);
    regs_done(&regs);
}

/* ---- A process ----------------------------------------------------------------------------- */

static int seize(pid_t tid, void *userdata)
{
    struct ward *w = userdata;
    struct thread *grown;

    for (size_t i = 0; i < w->n; i++)
        if (w->threads[i].tid == tid)
            return 0;
    if (w->n == THREADS_MAX ||
        (!repair_first_has(w->repair->first, tid) && ptrace_ops_seize(tid, 0) < 0))
        return 0;
    (void)ptrace_ops_interrupt(tid);
    grown = reallocarray(w->threads, w->n + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    w->threads = grown;
    w->threads[w->n++] = (struct thread){.tid = tid};
    return 0;
}

static void seize_all(struct ward *w)
{
    size_t before;

    do {
        before = w->n;
        (void)proc_for_each_thread(w->patient->process.pid, seize, w);
    } while (w->n > before);
}

/* A SIGTRAP that waits is taken out: it is what the thread meets first when it goes on. */
static void treat(struct ward *w, struct thread *t)
{
    uint32_t known = UINT32_MAX;

    if (!wait_for_stop(w, t))
        return;
    if (t->stop.kind == STOP_GROUP && t->stop.signo != SIGSTOP)
        w->was_stopped = true;
    judge_signal(t);
    for (int i = 0; i < ROUNDS_MAX && t->deliver == 0 && has_trap_waiting(t->tid); i++) {
        if (ptrace_ops_cont(t->tid, 0) < 0 || !wait_for_stop(w, t))
            return;
        judge_signal(t);
        if (is_at_trap(t))
            break;
    }
    set_right(w, t, is_at_trap(t) || was_trapped(w->repair, t->tid));
    if (w->patient->is_debugged)
        (void)hardware_clear(t->tid, &known);
}

static struct thread *find_standing(struct ward *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->threads[i].stands && w->threads[i].deliver == 0)
            return &w->threads[i];
    return NULL;
}

/* One thread alone takes the SIGCONT, and all else that is for it waits. */
static bool take_continue(const struct ward *w, struct thread *t)
{
    siginfo_t info;

    (void)syscall(SYS_tgkill, w->patient->process.pid, t->tid, SIGCONT);
    for (int i = 0; i < ROUNDS_MAX; i++) {
        if (ptrace_ops_cont(t->tid, 0) < 0 || !wait_for_stop(w, t))
            return false;
        if (t->stop.kind != STOP_SIGNAL_DELIVERY || t->stop.signo != SIGCONT)
            continue;
        if (ptrace_ops_get_siginfo(t->tid, &info) >= 0 && info.si_pid != getpid())
            t->deliver = SIGCONT; /* somebody else's was there before ours */
        return true;
    }
    return false;
}

/* The kernel drops them with a SIGCONT; they came from elsewhere, and are sent again behind it. */
static uint64_t get_stops_waiting(const struct ward *w)
{
    const uint64_t from_terminal =
        UINT64_C(1) << (SIGTSTP - 1) | UINT64_C(1) << (SIGTTIN - 1) | UINT64_C(1) << (SIGTTOU - 1);
    uint64_t pending = 0;

    for (size_t i = 0; i < w->n; i++) {
        struct proc_status status;

        if (proc_read_status(w->threads[i].tid, &status) >= 0)
            pending |= status.pending;
    }
    return pending & from_terminal;
}

static void send_again(const struct ward *w, uint64_t signals)
{
    for (int signo = 1; signals >> (signo - 1); signo++)
        if (signals & UINT64_C(1) << (signo - 1))
            (void)pidref_signal(&w->patient->process, signo);
}

/* Without the program's handler seeing it. */
static void continue_unseen(struct ward *w)
{
    struct thread *t = find_standing(w);
    uint64_t mask;

    if (!t || ptrace_ops_get_sigmask(t->tid, &mask) < 0 ||
        ptrace_ops_set_sigmask(t->tid, ~(UINT64_C(1) << (SIGCONT - 1))) < 0) {
        (void)pidref_signal(&w->patient->process, SIGCONT);
        return;
    }
    (void)take_continue(w, t);
    if (t->stands)
        (void)ptrace_ops_set_sigmask(t->tid, mask);
}

void repair_threads(const struct repair_text *r, const struct patient *p)
{
    struct ward w = {.repair = r, .patient = p, .was_stopped = p->was_stopped};

    arch_xsave_probe(&w.xsave);
    seize_all(&w);
    for (size_t i = 0; i < w.n; i++)
        treat(&w, &w.threads[i]);
    if (!w.was_stopped) {
        uint64_t stops = get_stops_waiting(&w);

        continue_unseen(&w);
        send_again(&w, stops);
    }
    for (size_t i = 0; i < w.n; i++)
        if (w.threads[i].stands)
            (void)ptrace_ops_detach(w.threads[i].tid, w.threads[i].deliver);
    free(w.threads);
}
