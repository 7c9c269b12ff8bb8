/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "daemon/trace/attach.h"
#include "daemon/trace/batch.h"
#include "daemon/trace/observe.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/proof.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/seize.h"
#include "daemon/trace/trace.h"
#include "daemon/trace/wait.h"

/* How a process is attached without a gap.
 *
 * PTRACE_SEIZE sets its options atomically and stops nothing. From the moment that a thread is
 * seized, the threads that it creates are attached by the kernel (PTRACE_O_TRACECLONE) and told of
 * by events. Threads created by one that is not seized yet appear in /proc/PID/task. So the
 * directory is read again until a whole pass has found nothing new: then every thread is either
 * seized by us or was born of one that is.
 *
 * A number in the directory may be that of another thread by the time we seize it. Hence, after
 * each, the question whether it belongs to the process, and at the end, whether the process is
 * still the one that the pidfd names: its number cannot have been used again before it is reaped.
 */

/* A process whose unattached threads create threads faster than this many passes seize them. */
#define PASSES_MAX 1000u

struct scan {
    struct seize seize;
    unsigned long options;
    struct trace *trace;
    struct process *process;
    struct attachment *attachment;
    size_t n_new;      /* seized in this pass */
    size_t n_attached; /* engines made */
    pid_t failed_tid;
};

enum refusal {
    REFUSAL_DEAD,   /* a zombie, or gone */
    REFUSAL_FOLLOW, /* ours already, by the kernel: its first stop and its creator's event are to
                       come */
    REFUSAL_REAL,
};

static enum refusal explain_refusal(pid_t tid)
{
    struct proc_status status;
    int r = proc_read_status(tid, &status);

    if (r == -ESRCH || (r >= 0 && (status.state == 'Z' || status.state == 'X')))
        return REFUSAL_DEAD;
    return r >= 0 && status.tracer == getpid() ? REFUSAL_FOLLOW : REFUSAL_REAL;
}

/* What is gone has nothing to be kept from anybody; nor has what has no memory any more, of which
 * /proc tells less than a grant asks for. */
static int check_thread(const struct grant *grant, pid_t pid, pid_t tid)
{
    int r = grant_check(grant, pid, tid);

    return r == -ESRCH || (r < 0 && !proc_has_memory(pid, tid)) ? 0 : r;
}

static int add_engine(struct scan *scan, struct tracee *tracee)
{
    int r;

    if (!scan->attachment) /* for breakpoints of sessions that may not reach everything */
        return process_check_grants(scan->process, tracee->tid);
    r = check_thread(scan->attachment->grant, scan->process->pidref.pid, tracee->tid);
    if (r < 0)
        return r;
    r = engine_add(tracee, scan->attachment);
    if (r < 0)
        return r;
    engine_find(tracee, scan->attachment)->fresh = true;
    scan->n_attached++;
    return 0;
}

static int serve_thread(pid_t tid, void *userdata)
{
    struct scan *scan = userdata;
    siginfo_t report;

    if (wait_thread(tid, WNOHANG | WNOWAIT, &report) > 0)
        trace_dispatch(scan->trace, &report);
    return 0;
}

/* While the process is in execve(2), its threads that we trace already are served, so that they can
 * come to their ends: those it waits for. See seize.h.
 *
 * One more try after a refusal: the kernel may have looked up the old leader before the execve had
 * its number taken over, and then found that it is dead. */
static int seize_patiently(struct scan *scan, pid_t tid)
{
    bool refused = false;

    for (unsigned i = 0; i < SEIZE_TRIES_MAX; i++) {
        int r = seize_try(&scan->seize, tid, scan->options);

        if (r == -EAGAIN)
            (void)proc_for_each_thread(scan->process->pidref.pid, serve_thread, scan);
        else if (r != -EPERM || refused)
            return r;
        else
            refused = true;
    }
    return -ETIMEDOUT;
}

/* Memory has run out: what is attached and unknown would stand at its next stop for ever. */
static void let_go_unknown(pid_t tid)
{
    siginfo_t report;
    struct stop stop;

    if (ptrace_ops_interrupt(tid) < 0 || wait_thread(tid, 0, &report) <= 0)
        return;
    stop_decode(&report, &stop);
    if (!stop_is_end(stop.kind))
        (void)ptrace_ops_detach(tid, stop.signo);
}

static int add_thread(struct scan *scan, pid_t tid, enum tracee_state state)
{
    struct tracee *tracee = process_add_tracee(scan->trace, scan->process, tid, state);

    if (!tracee && state == TRACEE_RUNNING)
        let_go_unknown(tid);
    if (!tracee)
        return -ENOMEM;
    tracee->asks_for_seccomp = (scan->options & PTRACE_O_TRACESECCOMP) != 0;
    tracee->stops_at_exit = (scan->options & PTRACE_O_TRACEEXIT) != 0;
    tracee->options_known = state == TRACEE_RUNNING; /* else it has its creator's */
    if (!pidref_has_thread(&scan->process->pidref, tid)) {
        resume_release(scan->trace, tracee); /* the number names another's thread by now */
        return 0;
    }
    scan->n_new++;
    return add_engine(scan, tracee);
}

static int seize_thread(struct scan *scan, pid_t tid)
{
    int r;

    if (scan->trace->tids.n >= TRACE_THREADS_MAX)
        return -E2BIG;
    r = seize_patiently(scan, tid);
    if (r >= 0)
        return add_thread(scan, tid, TRACEE_RUNNING);
    if (r != -EPERM)
        return r == -ESRCH ? 0 : r;
    if (tidmap_get(&scan->trace->tids, tid)) { /* told of while we served */
        scan->n_new++;
        return 0;
    }
    switch (explain_refusal(tid)) {
    case REFUSAL_DEAD:
        return 0;
    case REFUSAL_FOLLOW:
        return add_thread(scan, tid, TRACEE_NEW);
    case REFUSAL_REAL:
        break;
    }
    return r;
}

/* A child that reported its first stop before its creator told whose it is, or that nobody wanted
 * and that is about to be let go. */
static int take_stray(struct scan *scan, struct tracee *stray)
{
    stray->unwanted = false;
    process_adopt(scan->trace, scan->process, stray);
    scan->n_new++;
    return add_engine(scan, stray);
}

/* A thread that nobody traced called exec and took over the id of a leader that we traced: the
 * kernel reaps that leader and tells nobody (fs/exec.c:de_thread()). */
static bool is_taken_over(const struct tracee *known)
{
    struct proc_status status;

    return known->state == TRACEE_EXITING && proc_read_status(known->tid, &status) >= 0 &&
           status.tracer != getpid();
}

/* 0 goes on; a failure ends the pass. */
static int scan_thread(pid_t tid, void *userdata)
{
    struct scan *scan = userdata;
    struct tracee *known = tidmap_get(&scan->trace->tids, tid);
    int r;

    if (known && is_taken_over(known)) {
        scan->process->n_execs++;
        process_remove_tracee(scan->trace, known);
        known = NULL;
    }

    if (known && known->process && (!scan->attachment || engine_find(known, scan->attachment)))
        return 0;
    if (known && !known->process)
        r = take_stray(scan, known);
    else if (known)
        r = add_engine(scan, known);
    else
        r = seize_thread(scan, tid);
    if (r < 0)
        scan->failed_tid = tid;
    return r;
}

static int scan_process(struct scan *scan)
{
    for (unsigned pass = 0; pass < PASSES_MAX; pass++) {
        int r;

        scan->n_new = 0;
        r = proc_for_each_thread(scan->process->pidref.pid, scan_thread, scan);
        if (r < 0)
            return r;
        if (scan->n_new == 0)
            return 0;
    }
    return -EBUSY;
}

static int scan_wanted(struct scan *scan, pid_t tid)
{
    int r;

    if (tid == 0)
        r = scan_process(scan);
    else if (!pidref_has_thread(&scan->process->pidref, tid))
        r = -ESRCH;
    else
        r = scan_thread(tid, scan);
    if (r < 0)
        return r;
    return pidref_exists(&scan->process->pidref) ? 0 : -ESRCH;
}

/* Serving stops may bury the last thread, so what the scan works on is held by one too many. */
static int run_scan(struct scan *scan, pid_t tid)
{
    struct attachment *a = scan->attachment;
    int r;

    r = seize_begin(&scan->seize);
    if (r < 0)
        return r;
    scan->process->n_tracees++;
    a->n_engines++;
    a->pinned = true;
    r = scan_wanted(scan, tid);
    a->pinned = false;
    a->n_engines--;
    scan->process->n_tracees--;
    seize_end(&scan->seize);
    if (a->is_lost)
        r = -EKEYREJECTED;
    else if (r >= 0 && a->n_engines == 0)
        r = -ESRCH; /* nothing but a zombie, or dead by now */
    return r;
}

/* Gives up what a failed attach has made, and no more: the session may trace threads from before.
 */
static void undo(struct trace *t, struct attachment *a, bool is_new)
{
    struct process *p = a->process;
    struct tracee *tracee, *next;

    TAILQ_FOREACH(tracee, &p->tracees, siblings) {
        const struct engine *e = engine_find(tracee, a);

        if (e && e->fresh)
            engine_remove(tracee, a);
    }
    if (a->is_lost && !is_new)
        process_lose_attachment(t, a);
    else if (is_new) {
        event_queue_drop_process(&a->session->queue, p->pidref.pid); /* it was never told of */
        process_drop_attachment(a);
    }

    /* The last thread that is let go frees the process: hold it by one too many. */
    p->n_tracees++;
    for (tracee = TAILQ_FIRST(&p->tracees); tracee; tracee = next) {
        next = TAILQ_NEXT(tracee, siblings);
        if (!tracee->engines)
            resume_release(t, tracee);
    }
    p->n_tracees--;
    process_drop_empty(t, p, REMOVED_ENDED);
    process_collect(t, p);
}

/* See attach.h. */
int attach_cover(struct trace *t, struct process *p)
{
    struct scan scan = {.trace = t, .process = p, .options = resume_options(NULL)};
    int r = seize_begin(&scan.seize);

    if (r < 0)
        return r;
    p->n_tracees++;
    r = scan_process(&scan);
    p->n_tracees--;
    seize_end(&scan.seize);
    process_drop_empty(t, p, REMOVED_ENDED); /* see is_taken_over() */
    return r;
}

static int get_process(struct trace *t, const struct pidref *pidref, struct process **ret)
{
    struct process *p = process_find(t, pidref->pid);
    struct pidref copy;
    int r;

    if (p) {
        *ret = p;
        return pidref_exists(pidref) ? 0 : -ESRCH;
    }
    r = pidref_from_fd(pidref->fd, &copy);
    if (r < 0)
        return r;
    p = process_new(t, &copy);
    if (!p) {
        pidref_done(&copy);
        return -ENOMEM;
    }
    *ret = p;
    return 0;
}

static int get_attachment(struct process *p, struct session *s, const struct attach_options *o,
                          bool *ret_new, struct attachment **ret)
{
    struct attachment *a = session_find(s, p->pidref.pid);
    int r;

    *ret_new = !a;
    if (a && renew_is_awaited(a))
        return -EINPROGRESS;
    if (!a) {
        r = process_attach(p, s, o->filter, &a);
        if (r < 0)
            return r;
        a->all_stop = o->all_stop;
        a->grant = grant_ref(o->grant);
        a->observe = o->observe;
    }
    *ret = a;
    return 0;
}

/* What the session had of the process before came with another grant. This one is for what its
 * caller was allowed now: he may have been asked about another program. */
static int check_again(const struct attachment *a, const struct grant *grant)
{
    struct tracee *tracee;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        int r =
            engine_find(tracee, a) ? check_thread(grant, a->process->pidref.pid, tracee->tid) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

/* Nothing is to be undone any more; what the options widen holds from now on. */
static void settle_scan(struct trace *t, struct attachment *a, const struct attach_options *o)
{
    struct tracee *tracee;

    if (o->filter_is_given && a->filter != o->filter) {
        filter_unref(a->filter);
        a->filter = filter_ref(o->filter);
    }

    if (a->observe && !o->observe)
        observe_ends(a);
    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        struct engine *e = engine_find(tracee, a);

        if (e)
            e->fresh = false;
        resume_kick(tracee);
    }
    process_drop_empty(t, a->process, REMOVED_ENDED); /* see is_taken_over() */
    a->follow_threads = a->follow_threads || o->follow_threads;
    a->follow_children = a->follow_children || o->follow_children;
}

int trace_attach(struct trace *t, struct session *s, const struct pidref *process, pid_t tid,
                 const struct attach_options *o, pid_t *ret_tid)
{
    struct scan scan = {.trace = t};
    bool is_new;
    int r;

    r = get_process(t, process, &scan.process);
    if (r < 0)
        return r;
    r = get_attachment(scan.process, s, o, &is_new, &scan.attachment);
    if (r < 0) {
        process_collect(t, scan.process);
        return r;
    }

    if (o->grant && !t->by_grant)
        batch_begin_to_share(t, o->grant);
    observe_begins(scan.attachment, o->grant);
    scan.options = resume_options(scan.attachment);
    r = run_scan(&scan, tid);
    if (r >= 0 && !is_new && !grant_is_same(o->grant, scan.attachment->grant))
        r = check_again(scan.attachment, o->grant);
    if (r >= 0 && o->grant && o->grant->by_proof)
        r = proof_check(scan.process, o->proof, o->observe);
    if (r < 0) {
        if (ret_tid)
            *ret_tid = scan.failed_tid;
        undo(t, scan.attachment, is_new);
        return r;
    }
    settle_scan(t, scan.attachment, o);

    if (is_new)
        t->hooks.process_added(s, process->pid, 0, t->userdata);
    if (o->stop)
        (void)trace_interrupt(t, s, process->pid, tid);
    return scan.n_attached > 0;
}
