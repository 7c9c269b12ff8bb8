/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/trace/children.h"
#include "daemon/trace/observe.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/space.h"

static enum event_kind event_of(enum stop_kind kind)
{
    return kind == STOP_FORK ? EVENT_FORK : kind == STOP_VFORK ? EVENT_VFORK : EVENT_CLONE;
}

/* A thread that is one too many is let go, and its sessions learn it. */
static void lose_to_limit(struct trace *t, struct attachment *a, pid_t tid)
{
    struct event e = {.kind = EVENT_LOST, .tid = tid, .lost.reason = LOST_LIMIT};

    attachment_tell(t, a, &e);
}

/* Every session that traces the creator and follows threads traces the new one too. Engines that an
 * attach in between has made already are left as they are. */
static void join_thread(struct trace *t, struct tracee *creator, struct tracee *child)
{
    bool full = t->tids.n > TRACE_THREADS_MAX;

    for (struct engine *e = creator->engines; e; e = e->next) {
        struct attachment *a = e->attachment;

        if (!a->follow_threads || engine_find(child, a))
            continue;
        if (full || engine_add(child, a) < 0)
            lose_to_limit(t, a, child->tid);
        else if (a->has_stopped) /* it was born when all were told to stop */
            engine_find(child, a)->interrupting = true;
    }
}

/* A child has its creator's credentials, which may have become others since those were compared. */
static void lose_to_privilege(struct trace *t, struct attachment *a, pid_t tid)
{
    struct event e = {.kind = EVENT_LOST, .tid = tid, .lost.reason = LOST_PRIVILEGE};

    attachment_tell(t, a, &e);
}

static void follow_into(struct trace *t, struct attachment *parent, struct process *p,
                        struct tracee *child)
{
    struct attachment *a;

    if (grant_check(parent->grant, p->pidref.pid, child->tid) < 0) {
        lose_to_privilege(t, parent, child->tid);
        return;
    }
    if (process_attach(p, parent->session, parent->filter, &a) < 0) {
        lose_to_limit(t, parent, child->tid);
        return;
    }
    a->grant = grant_ref(parent->grant);
    a->observe = parent->observe;
    if (a->observe)
        observe_follows(p, parent->process);
    a->all_stop = parent->all_stop;
    a->follow_threads = parent->follow_threads;
    a->follow_children = true;
    t->hooks.process_added(a->session, p->pidref.pid, parent->process->pidref.pid, t->userdata);
    if (engine_add(child, a) < 0) {
        lose_to_limit(t, parent, child->tid);
        process_detach(t, a, REMOVED_LIMIT);
    }
}

static bool anyone_follows_children(const struct tracee *creator)
{
    for (const struct engine *e = creator->engines; e; e = e->next)
        if (e->attachment->follow_children)
            return true;
    return false;
}

/* The child's process: an attach may have been quicker. */
static struct process *get_process(struct trace *t, const struct tracee *child)
{
    struct pidref pidref = PIDREF_NULL;
    struct process *p = child->process;

    if (p || t->tids.n > TRACE_THREADS_MAX || pidref_open(child->tid, &pidref) < 0)
        return p;
    p = process_new(t, &pidref);
    if (!p)
        pidref_done(&pidref);
    return p;
}

static void join_process(struct trace *t, struct tracee *creator, struct tracee *child)
{
    struct process *p = anyone_follows_children(creator) ? get_process(t, child) : NULL;

    if (p && !child->process)
        process_adopt(t, p, child);
    for (struct engine *e = creator->engines; e; e = e->next) {
        if (!e->attachment->follow_children)
            continue;
        if (!p)
            lose_to_limit(t, e->attachment, child->tid);
        else if (!session_find(e->attachment->session, p->pidref.pid))
            follow_into(t, e->attachment, p, child);
    }
    if (!child->process)
        child->unwanted = true;
}

void children_stray_dies(struct trace *t, struct tracee *stray)
{
    if (stray->unwanted) /* its creator has told of it */
        return;
    t->dead_strays[t->n_dead_strays++ % TRACE_DEAD_STRAYS] = stray->tid;
    stray->unwanted = true;
}

/* Once for each. A creator that was killed leaves its entry here, until the number is another's. */
static bool is_dead_stray(struct trace *t, pid_t tid)
{
    struct proc_status status;

    for (unsigned i = 0; i < TRACE_DEAD_STRAYS; i++) {
        int r;

        if (t->dead_strays[i] != tid)
            continue;
        r = proc_read_status(tid, &status);

        t->dead_strays[i] = 0;
        return r == -ESRCH || (r >= 0 && (status.tracer != getpid() || status.state == 'Z' ||
                                          status.state == 'X'));
    }
    return false;
}

/* ---- Breakpoints in the memory of a child ---- */

static bool shares_memory(pid_t parent, pid_t child, enum stop_kind kind)
{
    const int vm = 1; /* KCMP_VM */
    long r = syscall(SYS_kcmp, parent, child, vm, 0, 0);

    return r < 0 ? kind == STOP_VFORK : r == 0;
}

/* What its sessions have in the parent they have in the child too. */
static void copy_to_sessions(struct trace *t, struct process *from, struct process *to)
{
    struct attachment *a;

    TAILQ_FOREACH(a, &to->attachments, by_process) {
        const struct attachment *parent = session_find(a->session, from->pidref.pid);

        if (parent)
            breakpoint_copy_all(t, parent, a);
    }
}

static void copy_breakpoints(struct trace *t, struct process *from, struct process *to)
{
    if (space_copy(from->space, to) < 0)
        return; /* without any, then */
    copy_to_sessions(t, from, to);
    space_settle_copy(t, to);
}

/* A fork child has a copy of our breakpoints, where nobody expects them unless it is followed. A
 * vfork child runs in its parent's memory, so it passes them under our eyes until its exec or its
 * end, wanted or not. */
static void clean_child(struct trace *t, struct tracee *creator, struct tracee *child,
                        enum stop_kind kind)
{
    struct process *from = creator->process;

    if (!space_has_locations(from->space)) {
        if (child->process && from->hardware.generation != 0)
            copy_to_sessions(t, from, child->process);
        return;
    }
    if (!shares_memory(creator->tid, child->tid, kind)) {
        if (child->process && !child->process->space)
            copy_breakpoints(t, from, child->process);
        else
            space_clean_copy(from->space, child->tid);
        return;
    }
    if (!child->process) {
        struct process *p = get_process(t, child);

        if (!p)
            return;
        child->unwanted = false;
        process_adopt(t, p, child);
    }
    if (child->process->space)
        return;
    space_share(child->process, from->space);
    copy_to_sessions(t, from, child->process);
}

/* Traced by us no more: nothing of it will be reported. */
static bool is_gone(pid_t tid)
{
    struct proc_status status;
    int r = proc_read_status(tid, &status);

    return r == -ESRCH || (r >= 0 && status.tracer != getpid());
}

/* May be NULL: it has ended already. */
static struct tracee *find_child(struct trace *t, const struct tracee *creator, pid_t tid,
                                 enum stop_kind kind, bool *ret_thread)
{
    struct tracee *child = tidmap_get(&t->tids, tid);

    *ret_thread = creator->process && pidref_has_thread(&creator->process->pidref, tid);
    if (child || is_dead_stray(t, tid))
        return child;
    if (!*ret_thread && is_gone(tid)) {
        /* A stray stands until it is told of, so an attach has found this one and it was a thread
         * of the same process. */
        *ret_thread = kind == STOP_CLONE;
        return NULL;
    }
    return process_add_tracee(t, NULL, tid, TRACEE_NEW);
}

void children_on_event(struct trace *t, struct tracee *creator, enum stop_kind kind)
{
    struct event e = {.kind = event_of(kind)};
    struct tracee *child;
    unsigned long message;

    if (ptrace_ops_get_event_message(creator->tid, &message) < 0) /* killed, and so is a thread */
        return;
    e.child.tid = (pid_t)message;
    child = find_child(t, creator, e.child.tid, kind, &e.child.thread);
    /* The kernel tells fork from clone by the exit signal alone (kernel/fork.c:kernel_clone()). */
    if (e.child.thread)
        e.kind = EVENT_CLONE;
    if (child && !child->options_known) /* else an attach was quicker, and it has run since */
        resume_inherit_options(child, creator);
    if (child && creator->process && e.child.thread) {
        if (!child->process)
            process_adopt(t, creator->process, child);
        join_thread(t, creator, child);
    } else if (child && creator->process) {
        join_process(t, creator, child);
        clean_child(t, creator, child, kind);
    }

    engine_report(t, creator, &e);
    if (child && child->state == TRACEE_STOPPED && child->stop == STOP_GROUP)
        engine_report(
            t, child,
            &(struct event){.kind = EVENT_GROUP_STOP, .signal.signo = child->group_signo});
    if (child)
        resume_settle(t, child);
}

/* The thread that called exec takes over the id of a leader that isn't traced. */
static struct tracee *rename_at_exec(struct trace *t, pid_t tid)
{
    struct tracee *tracee;
    unsigned long former;

    if (ptrace_ops_get_event_message(tid, &former) < 0)
        return NULL;
    tracee = tidmap_get(&t->tids, (pid_t)former);
    if (!tracee)
        return NULL;
    tidmap_remove(&t->tids, tracee->tid);
    tracee->tid = tid;
    if (tidmap_insert(&t->tids, tracee) < 0)
        return NULL; /* cannot be: a slot has just become free */
    if (tracee->process)
        tracee->process->leader_seen = true;
    return tracee;
}

struct tracee *children_find_unknown(struct trace *t, pid_t tid, const struct stop *stop)
{
    struct tracee *stray;

    if (stop_is_end(stop->kind))
        return NULL;
    if (stop->kind == STOP_EXEC) {
        struct tracee *renamed = rename_at_exec(t, tid);

        if (renamed)
            return renamed;
    }
    stray = process_add_tracee(t, NULL, tid, TRACEE_NEW);
    if (!stray)
        (void)ptrace_ops_detach(tid, stop->signo);
    return stray;
}

/* A session that traced the former thread alone now traces the leader, and an interrupt that was
 * under way for it takes effect in the exec stop. */
static void take_over_engines(struct tracee *tracee, struct tracee *former)
{
    struct engine *e;

    while ((e = former->engines)) {
        struct engine *mine = engine_find(tracee, e->attachment);

        former->engines = e->next;
        if (mine) {
            mine->interrupting = mine->interrupting || e->interrupting;
            engine_free(e);
            continue;
        }
        engine_let_go(e);
        e->mode = RESUME_RUN;
        engine_put(tracee, e);
    }
}

static void release_stray(struct trace *t, struct tracee *stray)
{
    children_stray_dies(t, stray); /* its creator's event, should it come, is of nobody */
    resume_settle(t, stray);
}

static void release_strays_of(struct trace *t, pid_t pid)
{
    struct tracee *stray, *next;

    for (stray = TAILQ_FIRST(&t->strays); stray; stray = next) {
        struct proc_status status;

        next = TAILQ_NEXT(stray, siblings);
        if (proc_read_status(stray->tid, &status) >= 0 && status.ppid == pid)
            release_stray(t, stray);
    }
}

void children_forget_others(struct trace *t, struct tracee *tracee, pid_t former)
{
    struct process *p = tracee->process;
    struct tracee *other, *next;

    for (other = TAILQ_FIRST(&p->tracees); other; other = next) {
        next = TAILQ_NEXT(other, siblings);
        if (other == tracee)
            continue;
        if (other->tid == former) {
            take_over_engines(tracee, other);
            resume_inherit_options(tracee, other);
        }
        process_remove_tracee(t, other);
    }
    /* The threads that could still have told of earlier children are gone. */
    release_strays_of(t, p->pidref.pid);
}

/* Strays whose creator was killed before it could tell of them. */
static void release_orphans(struct trace *t)
{
    struct tracee *stray, *next;

    for (stray = TAILQ_FIRST(&t->strays); stray; stray = next) {
        struct proc_status status;
        int r = proc_read_status(stray->tid, &status);

        next = TAILQ_NEXT(stray, siblings);
        if (r == -ESRCH ||
            (r >= 0 && !process_find(t, status.ppid) && !process_find(t, status.tgid)))
            release_stray(t, stray);
    }
}

static bool leader_is_dead(const struct process *p)
{
    struct proc_status status;
    int r = proc_read_status(p->pidref.pid, &status);

    return r == -ESRCH || (r >= 0 && (status.state == 'Z' || status.state == 'X'));
}

void children_end_process(struct trace *t, struct process *p, const struct event *last)
{
    while (!TAILQ_EMPTY(&p->attachments)) {
        struct attachment *a = TAILQ_FIRST(&p->attachments);

        /* A leader that was a zombie when we came cannot be attached, so nobody reports its end;
         * that of the last thread is the process's. */
        if (!p->leader_seen && a->follow_threads && leader_is_dead(p)) {
            struct event e = *last;

            e.tid = p->pidref.pid;
            if (filter_judge(a->filter, &e, true) != FILTER_DROP)
                attachment_tell(t, a, &e);
        }
        process_detach(t, a, REMOVED_ENDED);
    }
    process_collect(t, p);
    release_orphans(t);
}
