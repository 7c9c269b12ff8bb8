/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/trace/control.h"
#include "daemon/trace/observe.h"
#include "daemon/trace/renew.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/trace.h"

bool renew_is_awaited(const struct attachment *a)
{
    return a->renewal.exec;
}

/* The thread does not stand for it any more. */
static struct engine *end_stand(struct attachment *a)
{
    struct engine *e = a->renewal.engine;

    a->renewal.engine = NULL;
    a->process->n_awaited--;
    observe_lets_go(a);
    return e;
}

static struct engine *end_wait(struct attachment *a)
{
    a->renewal.exec = event_unref(a->renewal.exec);
    return a->renewal.engine ? end_stand(a) : NULL;
}

void renew_drop(struct attachment *a)
{
    struct engine *e = end_wait(a);

    if (e)
        engine_free(e);
}

bool renew_begin(struct trace *t, struct attachment *a, struct tracee *tracee,
                 const struct event *exec)
{
    struct engine *e;

    if (a->pinned || !t->hooks.exec_asks || !observe_may_hold(a))
        return false;
    e = engine_take(tracee, a);
    if (!e)
        return false;
    engine_let_go(e);
    observe_holds(a);
    e->mode = RESUME_RUN;
    a->renewal = (struct renewal){e, event_new(exec), ++t->last_renewal};
    a->process->n_awaited++;
    if (a->renewal.exec && t->hooks.exec_asks(a->session, &a->process->pidref, a->renewal.number,
                                              observe_left(a), t->userdata))
        return true;
    engine_put(tracee, end_wait(a));
    return false;
}

void renew_give_up(struct trace *t, struct process *p)
{
    struct attachment *a, *next;

    for (a = TAILQ_FIRST(&p->attachments); a; a = next) {
        next = TAILQ_NEXT(a, by_process);
        if (renew_is_awaited(a))
            process_lose_attachment(t, a);
    }
}

void renew_is_killed(struct process *p, struct tracee *tracee)
{
    struct attachment *a;

    TAILQ_FOREACH(a, &p->attachments, by_process)
        if (a->renewal.engine)
            engine_put(tracee, end_stand(a));
}

/* Where the exec stop is, which nobody but a kill ends meanwhile. */
static struct tracee *find_standing(const struct trace *t, const struct process *p)
{
    struct tracee *tracee = tidmap_get(&t->tids, p->pidref.pid);

    return tracee && tracee->process == p && tracee->state == TRACEE_STOPPED ? tracee : NULL;
}

static void go_on(struct trace *t, struct attachment *a, struct tracee *tracee, struct grant *grant)
{
    struct event *exec = event_ref(a->renewal.exec), e = *exec;
    struct engine *engine = end_wait(a);

    grant_unref(a->grant);
    a->grant = grant_ref(grant);
    engine_put(tracee, engine);
    engine_judge(t, tracee, engine, &e, false);
    if (engine->interrupting)
        engine_tell(t, tracee, engine, &(struct event){.kind = EVENT_STOP}, true);
    event_unref(exec);
    resume_settle(t, tracee);
    if (t->gather)
        control_gather(t);
}

int trace_renew(struct trace *t, struct session *s, pid_t pid, uint32_t number, struct grant *grant)
{
    struct attachment *a = session_find(s, pid);
    struct tracee *tracee;

    if (!a || !a->renewal.engine || a->renewal.number != number)
        return -ESTALE;
    tracee = find_standing(t, a->process);
    if (!grant || !tracee || grant_check(grant, pid, pid) < 0)
        return trace_lose(t, s, pid, LOST_PRIVILEGE);
    go_on(t, a, tracee, grant);
    return 0;
}
