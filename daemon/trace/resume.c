/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"

/* The signal, if any, has been handed back to the kernel. */
static void signal_is_passed_on(struct trace *t, struct tracee *tracee)
{
    if (tracee->ledger_slot >= 0)
        ledger_clear_signal(t->ledger, tracee->ledger_slot);
    tracee->ledger_slot = -1;
    tracee->resume_signo = 0;
}

/* -ESRCH from the requests below means killed while it stood: then it is on its way to its end,
 * which a wait will report, and counts as running. */
static void resume(struct trace *t, struct tracee *tracee)
{
    if (tracee->stop == STOP_GROUP && ptrace_ops_listen(tracee->tid) >= 0) {
        tracee_apply(tracee, TRACEE_LISTEN);
        return;
    }
    (void)ptrace_ops_cont(tracee->tid, tracee->resume_signo);
    signal_is_passed_on(t, tracee);
    tracee_apply(tracee, TRACEE_CONT);
}

static void detach_standing(struct trace *t, struct tracee *tracee)
{
    struct process *p = tracee->process;

    if (ptrace_ops_detach(tracee->tid, tracee->resume_signo) < 0) {
        signal_is_passed_on(t, tracee);
        tracee_apply(tracee, TRACEE_CONT);
        return;
    }
    process_remove_tracee(t, tracee);
    if (p)
        process_collect(t, p);
}

void resume_settle(struct trace *t, struct tracee *tracee)
{
    if (tracee->state != TRACEE_STOPPED)
        return;
    if (!tracee->process && !tracee->unwanted) /* whose it is will be told */
        return;
    if (!tracee->engines)
        detach_standing(t, tracee);
    else if (!engine_is_any_holding(tracee))
        resume(t, tracee);
}

void resume_release(struct trace *t, struct tracee *tracee)
{
    switch ((enum tracee_state)tracee->state) {
    case TRACEE_STOPPED:
        resume_settle(t, tracee);
        break;
    case TRACEE_RUNNING:
    case TRACEE_LISTENING:
        if (ptrace_ops_interrupt(tracee->tid) >= 0)
            tracee_apply(tracee, TRACEE_INTERRUPT);
        break;
    case TRACEE_NEW:
    case TRACEE_STOPPING: /* its stop is coming */
    case TRACEE_EXITING:
    case TRACEE_GONE:
    case TRACEE_STATE_MAX:
        break;
    }
}
