/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/trace/lastwait.h"
#include "daemon/trace/process.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/space.h"
#include "daemon/trace/stepover.h"
#include "daemon/trace/trace.h"

struct process *process_new(struct trace *t, struct pidref *pidref)
{
    struct process *p = t->n_processes < t->processes_max ? calloc(1, sizeof(*p)) : NULL;

    if (!p)
        return NULL;
    p->pidref = *pidref;
    p->memory = MEMORY_NULL;
    *pidref = PIDREF_NULL;
    TAILQ_INIT(&p->tracees);
    TAILQ_INIT(&p->attachments);
    TAILQ_INSERT_TAIL(&t->processes, p, processes);
    t->n_processes++;
    return p;
}

struct process *process_find(const struct trace *t, pid_t pid)
{
    struct process *p;

    TAILQ_FOREACH(p, &t->processes, processes)
        if (p->pidref.pid == pid)
            return p;
    return NULL;
}

int process_guard(struct trace *t, struct process *p)
{
    int r;

    if (p->guarded)
        return 0;
    r = ledger_set_debugged(t->ledger, p->pidref.pid, true);
    if (r < 0)
        return r;
    (void)lastwait_arm(t->ledger, &t->lastwait_fd);
    p->guarded = true;
    return 0;
}

static bool is_ours(pid_t tid)
{
    struct proc_status status;

    return proc_read_status(tid, &status) >= 0 && status.tracer == getpid();
}

int process_check_grants(const struct process *p, pid_t tid)
{
    const struct attachment *a;

    TAILQ_FOREACH(a, &p->attachments, by_process) {
        int r;

        if (!a->grant || renew_is_awaited(a)) /* which gets nothing of it */
            continue;
        r = is_ours(tid) ? grant_check(a->grant, p->pidref.pid, tid) : -EKEYREJECTED;
        if (r < 0)
            return r;
    }
    return 0;
}

int process_check_grant(const struct attachment *a)
{
    const struct tracee *tracee;

    if (!a->grant)
        return 0;
    TAILQ_FOREACH(tracee, &a->process->tracees, siblings)
        if (engine_find(tracee, a) && is_ours(tracee->tid))
            return grant_check(a->grant, a->process->pidref.pid, tracee->tid);
    return -EKEYREJECTED;
}

void process_collect(struct trace *t, struct process *p)
{
    if (p->n_tracees > 0 || p->n_pins > 0 || !TAILQ_EMPTY(&p->attachments))
        return;
    TAILQ_REMOVE(&t->processes, p, processes);
    t->n_processes--;
    space_forget(p);
    if (!t->leaving)
        ledger_forget_process(t->ledger, p->pidref.pid);
    memory_forget(p);
    pidref_done(&p->pidref);
    free(p);
}

int process_attach(struct process *p, struct session *s, struct filter *filter,
                   struct attachment **ret)
{
    struct attachment *a = calloc(1, sizeof(*a));

    if (!a)
        return -ENOMEM;
    a->session = s;
    a->process = p;
    a->since_usec = event_now_usec();
    a->filter = filter_ref(filter);
    TAILQ_INIT(&a->breakpoints);
    TAILQ_INSERT_TAIL(&p->attachments, a, by_process);
    TAILQ_INSERT_TAIL(&s->attachments, a, by_session);
    *ret = a;
    return 0;
}

void process_drop_attachment(struct attachment *a)
{
    TAILQ_REMOVE(&a->process->attachments, a, by_process);
    TAILQ_REMOVE(&a->session->attachments, a, by_session);
    filter_unref(a->filter);
    grant_unref(a->grant);
    free(a);
}

static void remove_engines(struct attachment *a)
{
    struct tracee *tracee;

    TAILQ_FOREACH(tracee, &a->process->tracees, siblings)
        engine_remove(tracee, a);
    renew_drop(a);
}

void process_detach(struct trace *t, struct attachment *a, enum removal why)
{
    struct process *p = a->process;
    struct session *s = a->session;

    breakpoint_remove_all(t, a);
    remove_engines(a);
    process_drop_attachment(a);
    t->hooks.process_removed(s, p->pidref.pid, why, t->userdata);
}

void process_lose_attachment(struct trace *t, struct attachment *a)
{
    struct event e = {.kind = EVENT_LOST,
                      .tid = a->process->pidref.pid,
                      .lost = {.reason = LOST_PRIVILEGE, .process = true}};

    if (a->pinned) {
        a->is_lost = true;
        remove_engines(a);
        return;
    }
    attachment_tell(t, a, &e);
    process_detach(t, a, REMOVED_PRIVILEGE);
}

void process_drop_empty(struct trace *t, struct process *p, enum removal why)
{
    struct attachment *a, *next;

    for (a = TAILQ_FIRST(&p->attachments); a; a = next) {
        next = TAILQ_NEXT(a, by_process);
        if (a->n_engines == 0)
            process_detach(t, a, why);
    }
}

struct tracee *process_add_tracee(struct trace *t, struct process *p, pid_t tid,
                                  enum tracee_state state)
{
    struct tracee *tracee = calloc(1, sizeof(*tracee));

    if (!tracee)
        return NULL;
    tracee->tid = tid;
    tracee->state = (uint8_t)state;
    tracee->resumed = RESUME_RUN;
    tracee->ledger_slot = -1;
    if (tidmap_insert(&t->tids, tracee) < 0) {
        free(tracee);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&t->strays, tracee, siblings);
    turns_add(&t->turns, tracee);
    if (p)
        process_adopt(t, p, tracee);
    return tracee;
}

void process_adopt(struct trace *t, struct process *p, struct tracee *tracee)
{
    TAILQ_REMOVE(&t->strays, tracee, siblings);
    tracee->process = p;
    TAILQ_INSERT_TAIL(&p->tracees, tracee, siblings);
    p->n_tracees++;
    if (tracee->tid == p->pidref.pid)
        p->leader_seen = true;
}

void process_remove_tracee(struct trace *t, struct tracee *tracee)
{
    if (tracee->ledger_slot >= 0)
        ledger_clear_signal(t->ledger, tracee->ledger_slot);
    stepover_drop(t, tracee);
    if (tracee->put_off && tracee->put_off_slot >= 0)
        ledger_clear_signal(t->ledger, tracee->put_off_slot);
    free(tracee->put_off);
    tidmap_remove(&t->tids, tracee->tid);
    turns_remove(&t->turns, tracee);
    engine_remove_all(tracee);
    if (tracee->process) {
        TAILQ_REMOVE(&tracee->process->tracees, tracee, siblings);
        tracee->process->n_tracees--;
    } else
        TAILQ_REMOVE(&t->strays, tracee, siblings);
    free(tracee);
}
