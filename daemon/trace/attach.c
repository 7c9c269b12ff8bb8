/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/trace.h"

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

#define SEIZE_OPTIONS                                                                              \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |      \
     PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT)

/* A process whose unattached threads create threads faster than this many passes seize them. */
#define PASSES_MAX 1000u

struct scan {
    struct trace *trace;
    struct process *process;
    struct attachment *attachment;
    size_t n_new;      /* seized in this pass */
    size_t n_attached; /* engines made */
    pid_t failed_tid;
};

/* EPERM also means: a zombie, or ours already, by the kernel, with its creator's event to come. */
static int explain_refusal(pid_t tid)
{
    struct proc_status status;
    int r = proc_read_status(tid, &status);

    if (r == -ESRCH || (r >= 0 && (status.state == 'Z' || status.state == 'X')))
        return 0;
    if (r >= 0 && status.tracer == getpid())
        return 0;
    return -EPERM;
}

static int add_engine(struct scan *scan, struct tracee *tracee)
{
    int r = engine_add(tracee, scan->attachment);

    if (r < 0)
        return r;
    engine_find(tracee, scan->attachment)->fresh = true;
    scan->n_attached++;
    return 0;
}

static int seize_thread(struct scan *scan, pid_t tid)
{
    struct tracee *tracee;
    int r;

    if (scan->trace->tids.n >= TRACE_THREADS_MAX)
        return -EDQUOT;
    r = ptrace_ops_seize(tid, SEIZE_OPTIONS);
    if (r == -EPERM)
        return explain_refusal(tid);
    if (r < 0)
        return r == -ESRCH ? 0 : r;

    tracee = process_add_tracee(scan->trace, scan->process, tid, TRACEE_RUNNING);
    if (!tracee)
        return -ENOMEM; /* attached, but unknown: its first stop makes it a stray that is let go */
    if (!pidref_has_thread(&scan->process->pidref, tid)) {
        resume_release(scan->trace, tracee); /* the number names another's thread by now */
        return 0;
    }
    scan->n_new++;
    return add_engine(scan, tracee);
}

/* 0 goes on; a failure ends the pass. */
static int scan_thread(pid_t tid, void *userdata)
{
    struct scan *scan = userdata;
    const struct tracee *known = tidmap_get(&scan->trace->tids, tid);
    int r;

    if (known && (!known->process || engine_find(known, scan->attachment)))
        return 0;
    if (known)
        r = add_engine(scan, tidmap_get(&scan->trace->tids, tid));
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

static int run_scan(struct scan *scan, pid_t tid)
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
    if (is_new) {
        TAILQ_REMOVE(&p->attachments, a, by_process);
        TAILQ_REMOVE(&a->session->attachments, a, by_session);
        free(a);
    }

    /* The last thread that is let go frees the process: hold it by one too many. */
    p->n_tracees++;
    for (tracee = TAILQ_FIRST(&p->tracees); tracee; tracee = next) {
        next = TAILQ_NEXT(tracee, siblings);
        if (!tracee->engines)
            resume_release(t, tracee);
    }
    p->n_tracees--;
    process_collect(t, p);
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
    if (!a) {
        r = process_attach(p, s, &a);
        if (r < 0)
            return r;
        a->report = o->report;
        a->stops = o->stops;
    }
    *ret = a;
    return 0;
}

/* Nothing is to be undone any more; what the options widen holds from now on. */
static void settle_scan(struct attachment *a, const struct attach_options *o)
{
    struct tracee *tracee;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings) {
        struct engine *e = engine_find(tracee, a);

        if (e)
            e->fresh = false;
    }
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

    r = run_scan(&scan, tid);
    if (r >= 0 && is_new && scan.n_attached == 0)
        r = -ESRCH; /* nothing but a zombie, or dead by now */
    if (r < 0) {
        if (ret_tid)
            *ret_tid = scan.failed_tid;
        undo(t, scan.attachment, is_new);
        return r;
    }
    settle_scan(scan.attachment, o);

    if (is_new)
        t->hooks.process_added(s, process->pid, t->userdata);
    if (o->stop)
        (void)trace_interrupt(t, s, process->pid, tid);
    return scan.n_attached > 0;
}
