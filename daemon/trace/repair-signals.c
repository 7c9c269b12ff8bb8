/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/trace/event.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/pidref.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/repair-signals.h"
#include "daemon/trace/repair.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"

/* For one signal to be delivered; a thread that blocks it by now gets it later. */
#define PATIENCE_USEC (1000 * 1000)

/* Threads that are asked whether SIGCONT is on its way: meanwhile the tracer stands, and so do all
 * that it traces. */
#define LOOKS_MAX 4096u

struct item {
    struct pidref process;
    struct ledger_signal signal;
};

struct repair_signals {
    pid_t continued; /* the process that was last asked whether SIGCONT is on its way */
    bool is_continued;
    unsigned n_looks; /* at threads, for that question */
    size_t n;
    struct item items[];
};

static bool is_fault(int signo)
{
    return signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE;
}

bool repair_signal_is_needed(const siginfo_t *info)
{
    if (info->si_code <= 0) /* a process sent it */
        return true;
    switch (info->si_signo) {
    case SIGSEGV:
    case SIGILL:
    case SIGFPE:
        return false;
    case SIGBUS:
        return info->si_code == BUS_MCEERR_AO; /* tells of memory, not of an instruction */
    default:
        return true;
    }
}

/* SIGCONT is pending for the thread or its process, or is what it stands at. */
static int has_sigcont(pid_t tid, void *userdata)
{
    struct repair_signals *r = userdata;
    struct proc_status status;
    struct proc_stat stat;

    if (r->n_looks++ >= LOOKS_MAX)
        return -E2BIG;
    if (proc_read_status(tid, &status) < 0)
        return 0;
    if (status.pending & UINT64_C(1) << (SIGCONT - 1))
        return 1;
    return status.state == 't' && proc_read_stat(r->continued, tid, &stat) >= 0 &&
           stat.exit_code == SIGCONT;
}

/* The stop is over before it began: SIGCONT was delivered since, or is on its way to any thread,
 * for the kernel drops one that is pending when another stopping signal comes
 * (kernel/signal.c:prepare_signal()). */
static bool is_undone(struct repair_signals *r, const struct ledger_signal *s)
{
    if (!ledger_signal_stops(s->signo) || s->undone)
        return s->undone;
    if (r->continued == s->pid)
        return r->is_continued;
    r->continued = s->pid;
    r->is_continued = proc_for_each_thread(s->pid, has_sigcont, r) > 0;
    return r->is_continued;
}

/* Its thread runs to be given it a moment later, unless it stands in that very signal, not yet
 * collected: then the kernel delivers it. */
static bool is_lost_on_the_way(const struct ledger_signal *s, pid_t tracer)
{
    struct proc_status status;
    struct proc_stat stat;

    if (proc_read_stat(s->pid, s->tid, &stat) < 0 ||
        (stat.state == 't' && stat.exit_code == s->signo))
        return false;
    return proc_read_status(s->tid, &status) >= 0 && status.tracer == tracer;
}

/* Swallowed: the thread still stands in the stop that was collected. Had it been resumed, it would
 * run, or stand in a later stop that nobody has collected (exit_code is not 0). */
static bool is_swallowed(const struct ledger_signal *s, pid_t tracer)
{
    struct proc_status status;
    struct proc_stat stat;

    if (proc_read_stat(s->pid, s->tid, &stat) < 0 || stat.state != 't' || stat.exit_code != 0)
        return false;
    return proc_read_status(s->tid, &status) >= 0 && status.tracer == tracer;
}

static void plan_one(struct repair_signals *r, const struct ledger_signal *s, pid_t tracer)
{
    struct item *item = &r->items[r->n];

    bool is_lost = s->put_off ? is_lost_on_the_way(s, tracer) : is_swallowed(s, tracer);

    if (!is_lost || !repair_signal_is_needed(&s->info) || is_undone(r, s))
        return;
    if (pidref_open(s->pid, &item->process) < 0)
        return;
    item->signal = *s;
    r->n++;
}

/* The stop that was collected last, where the tracer did not live to record it. A SIGTRAP there is
 * mostly one of our own making, of a step or a breakpoint, and kills who is given it: of the two
 * harms, the loss of one that the program raised is the smaller. */
static bool unrecorded_signal(const struct ledger *l, struct ledger_signal *ret)
{
    const siginfo_t *wait = ledger_get_last_wait(l);
    struct proc_status status;
    struct stop stop;

    if (wait->si_pid <= 0)
        return false;
    stop_decode(wait, &stop);
    if (stop.kind != STOP_SIGNAL_DELIVERY || stop.signo == SIGTRAP)
        return false;
    for (int i = 0; i < ledger_get_used(l); i++)
        if (ledger_get_signal(l, i)->tid == wait->si_pid)
            return false;
    if (proc_read_status(wait->si_pid, &status) < 0)
        return false;
    *ret = (struct ledger_signal){
        .pid = status.tgid,
        .tid = wait->si_pid,
        .signo = stop.signo,
        /* Its siginfo is not known; the signal itself counts. What can be a fault is taken for one,
         * which its instruction raises anew. */
        .info = {.si_signo = stop.signo, .si_code = is_fault(stop.signo) ? SI_KERNEL : SI_USER},
    };
    return true;
}

int repair_signals_plan(const struct ledger *l, struct repair_signals **ret)
{
    struct ledger_signal unrecorded;
    int used = ledger_get_used(l);
    struct repair_signals *r;

    r = calloc(1, sizeof(*r) + ((size_t)used + 1) * sizeof(r->items[0]));
    if (!r)
        return -ENOMEM;
    for (int i = 0; i < used; i++)
        if (ledger_get_signal(l, i)->tid > 0)
            plan_one(r, ledger_get_signal(l, i), ledger_get_tracer(l));
    if (unrecorded_signal(l, &unrecorded))
        plan_one(r, &unrecorded, ledger_get_tracer(l));

    *ret = r->n > 0 ? r : repair_signals_free(r);
    return 0;
}

/* SIGCHLD is blocked, so one that came since the last look ends the wait at once. */
static void wait_for_sigchld(void)
{
    const struct timespec patience = {.tv_nsec = 100 * 1000 * 1000};
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    (void)sigtimedwait(&mask, NULL, &patience);
}

/* Passes on what else comes until our own signal stops the thread. */
static bool wait_for_own_signal(pid_t tid, int signo)
{
    const uint64_t end = event_now_usec() + PATIENCE_USEC;

    while (event_now_usec() < end) {
        siginfo_t wait, info;
        struct stop stop;
        int r = wait_thread(tid, WNOHANG, &wait);

        if (r < 0 && r != -EINTR)
            return false;
        if (r <= 0) {
            wait_for_sigchld();
            continue;
        }
        stop_decode(&wait, &stop);
        if (stop_is_end(stop.kind))
            return false;
        if (stop.kind == STOP_SIGNAL_DELIVERY && stop.signo == signo &&
            ptrace_ops_get_siginfo(tid, &info) >= 0 && info.si_code == SI_TKILL &&
            info.si_pid == getpid())
            return true;
        if (stop.kind == STOP_GROUP)
            (void)ptrace_ops_listen(tid);
        else
            (void)ptrace_ops_cont(tid, stop.signo);
    }
    return false;
}

/* The signal is pending or blocked, or the thread sleeps beyond our patience: leave it be. */
static void let_go(pid_t tid)
{
    siginfo_t wait;
    struct stop stop;

    if (ptrace_ops_interrupt(tid) < 0 || wait_thread(tid, 0, &wait) <= 0)
        return;
    stop_decode(&wait, &stop);
    if (!stop_is_end(stop.kind))
        (void)ptrace_ops_detach(tid, stop.kind == STOP_SIGNAL_DELIVERY ? stop.signo : 0);
}

static void send(const struct ledger_signal *s)
{
    siginfo_t info = s->info;

    if (s->info.si_code >= 0 || syscall(SYS_rt_tgsigqueueinfo, s->pid, s->tid, s->signo, &info) < 0)
        (void)syscall(SYS_tgkill, s->pid, s->tid, s->signo);
}

static void run_one(const struct item *item)
{
    const struct ledger_signal *s = &item->signal;

    if (ptrace_ops_seize(s->tid, 0) < 0) {
        /* Another debugger was quicker, or we may not: then without the original siginfo. */
        if (pidref_exists(&item->process))
            send(s);
        return;
    }
    if (!pidref_exists(&item->process) || !proc_is_thread_of(s->pid, s->tid)) {
        let_go(s->tid);
        return;
    }
    (void)syscall(SYS_tgkill, s->pid, s->tid, s->signo);
    if (!wait_for_own_signal(s->tid, s->signo)) {
        let_go(s->tid);
        return;
    }
    if (s->info.si_code != SI_USER || s->info.si_pid != 0)
        (void)ptrace_ops_set_siginfo(s->tid, &s->info);
    (void)ptrace_ops_detach(s->tid, s->signo);
}

void repair_signals_run(const struct repair_signals *r)
{
    for (size_t i = 0; i < r->n; i++)
        run_one(&r->items[i]);
}

struct repair_signals *repair_signals_free(struct repair_signals *r)
{
    if (r)
        for (size_t i = 0; i < r->n; i++)
            pidref_done(&r->items[i].process);
    free(r);
    return NULL;
}
