/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "daemon/trace/calls.h"
#include "daemon/trace/chaperone.h"
#include "daemon/trace/children.h"
#include "daemon/trace/control.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/space.h"
#include "daemon/trace/stepover.h"
#include "daemon/trace/trace.h"
#include "daemon/trace/trap.h"
#include "daemon/trace/wait.h"

/* From a stop to what the sessions are told of it. Resuming is resume.c's.
 *
 * Stops are looked at (WNOWAIT) and only collected where they must be. waitid(2) takes a signal
 * that it collects out of the kernel's hands (kernel/exit.c:wait_task_stopped() clears
 * task->exit_code), so that a tracer killed at that moment would take it along; one that was only
 * looked at is delivered by the kernel. A stop that nobody holds is resumed without ever being
 * collected, which costs no call more. */

/* A group-stop is reported once. An interrupt of a thread under LISTEN makes the kernel report the
 * same group-stop again (kernel/signal.c:do_jobctl_trap()). */
static void on_group_stop(struct trace *t, struct tracee *tracee, const struct stop *stop)
{
    struct event e = {.kind = EVENT_GROUP_STOP, .signal.signo = stop->signo};

    if (tracee->group_signo == stop->signo)
        return;
    tracee->group_signo = (uint8_t)stop->signo;
    if (tracee->process)
        ledger_set_stopped(t->ledger, tracee->process->pidref.pid, true);
    engine_report(t, tracee, &e);
}

/* A thread that is killed goes on from any stop to its exit stop, if it has one, or to its end; a
 * wait reports either anew. */
static bool has_gone_on(const siginfo_t *info, const struct stop *stop)
{
    return info->si_signo != stop->signo || info->si_code == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
}

/* Returns whether the thread still stands there. */
static bool on_signal(struct trace *t, struct tracee *tracee, const struct stop *stop)
{
    struct event e = {.kind = EVENT_SIGNAL, .signal.signo = stop->signo};
    siginfo_t info;

    if (ptrace_ops_get_siginfo(tracee->tid, &info) < 0 || has_gone_on(&info, stop))
        return false;
    if (stop->signo == SIGTRAP && trap_on_stop(t, tracee, &info)) {
        if (tracee->stop != STOP_STEP || !stepover_take_put_off(t, tracee, &info))
            return true;
        tracee->stop = STOP_SIGNAL_DELIVERY; /* of the one that was put off */
    } else if (stepover_puts_off(t, tracee, &info))
        return true;
    e.signal.signo = info.si_signo;
    tracee->resume_signo = (uint8_t)info.si_signo;
    if (info.si_signo == SIGCONT && tracee->process)
        ledger_void_stops(t->ledger, tracee->process->pidref.pid);
    e.signal.code = info.si_code;
    /* Zero and below: a process sent it; of those the timer's and the kernel's have no sender. */
    e.signal.sent = info.si_code == SI_USER || info.si_code == SI_TKILL || info.si_code == SI_QUEUE;
    if (e.signal.sent) {
        e.signal.sender_pid = info.si_pid;
        e.signal.sender_uid = info.si_uid;
    }
    engine_report(t, tracee, &e);
    return true;
}

static void on_exit_stop(struct trace *t, struct tracee *tracee)
{
    struct event e = {.kind = EVENT_EXIT};
    unsigned long code = 0;
    struct stop end;

    (void)ptrace_ops_get_event_message(tracee->tid, &code);
    stop_decode_exit_code(code, &end);
    e.end.status = end.status;
    e.end.signo = end.signo;
    e.end.core = end.core;
    tracee->exit_is_told = true;
    engine_report(t, tracee, &e);
}

/* NULL where it cannot be read: the event goes without. */
static struct event_data *read_path(pid_t pid)
{
    char path[PATH_MAX];
    ssize_t n = proc_read_executable(pid, path);
    struct event_data *d = n > 0 ? event_data_new((size_t)n) : NULL;

    if (d)
        memcpy(d->bytes, path, (size_t)n);
    return d;
}

/* Before anybody learns what the new program is. One that cannot be asked about is as good as
 * privileged. */
static void compare_grants(struct trace *t, struct tracee *tracee, const struct event *exec)
{
    struct process *p = tracee->process;
    struct attachment *a, *next;

    for (a = TAILQ_FIRST(&p->attachments); a; a = next) {
        next = TAILQ_NEXT(a, by_process);
        if (grant_check_rights(a->grant, p->pidref.pid, tracee->tid) < 0 ||
            (!grant_survives_exec(a->grant) && !renew_begin(t, a, tracee, exec)))
            process_lose_attachment(t, a);
        else if (grant_survives_exec(a->grant) && t->hooks.executed)
            t->hooks.executed(a->session, p->pidref.pid, t->userdata);
    }
}

/* An exec ends all other threads, and the one that called it takes over the leader's id without a
 * death of its own being reported; old_tid was its own. */
static void on_exec(struct trace *t, struct tracee *tracee)
{
    struct event e = {.kind = EVENT_EXEC, .old_tid = tracee->tid};
    unsigned long message;

    if (ptrace_ops_get_event_message(tracee->tid, &message) >= 0)
        e.old_tid = (pid_t)message;
    tracee->group_signo = 0;
    tracee->exit_is_told = false; /* a leader's that was taken over */
    if (tracee->process) {
        struct attachment *a;

        tracee->process->n_execs++;
        TAILQ_FOREACH(a, &tracee->process->attachments, by_process)
            breakpoint_forget_all(t, a);
        space_forget(tracee->process);
        ledger_settle_trap(t->ledger); /* what is recorded from now on is of the new program */
        memory_forget(tracee->process);
        tracee->process->hardware = (struct hardware){0};
        tracee->hardware_known = 0;
        tracee->passing_at = 0;
        tracee->again_at = 0;
        tracee->steps_over_call = false;
        children_forget_others(t, tracee, e.old_tid);
        e.data = read_path(tracee->process->pidref.pid);
        e.tid = tracee->tid;
        e.usec = event_now_usec();
        compare_grants(t, tracee, &e);
    }
    engine_report(t, tracee, &e);
    event_data_unref(e.data);
}

/* Whoever was killed out of a stop in the moment that it was resumed went past its exit stop, and
 * it had none while nobody asked for it (resume.c). */
static void make_up_for_exit(struct trace *t, struct tracee *tracee, const struct event *end)
{
    struct event e = *end;

    e.kind = EVENT_EXIT;
    for (struct engine *engine = tracee->engines; engine; engine = engine->next)
        if (filter_judge(engine->attachment->filter, &e,
                         tracee->tid == tracee->process->pidref.pid) != FILTER_DROP)
            engine_tell(t, tracee, engine, &e, false);
}

static void on_end(struct trace *t, struct tracee *tracee, const struct stop *stop)
{
    struct event e = {
        .kind = stop->kind == STOP_EXITED ? EVENT_EXITED : EVENT_KILLED,
        .end = {.status = stop->status, .signo = stop->signo, .core = stop->core},
    };
    struct process *p = tracee->process;

    tracee_apply(tracee, TRACEE_END);
    if (!p)
        children_stray_dies(t, tracee);
    engine_drop_holds(tracee);
    if (!tracee->exit_is_told)
        make_up_for_exit(t, tracee, &e);
    engine_report(t, tracee, &e);
    process_remove_tracee(t, tracee);
    if (p && p->n_tracees == 0)
        children_end_process(t, p, &e);
    else if (p)
        process_drop_empty(t, p, REMOVED_ENDED);
}

/* Returns whether the thread still stands there. */
static bool on_stop(struct trace *t, struct tracee *tracee, const struct stop *stop)
{
    struct event e = {.kind = EVENT_VFORK_DONE};
    unsigned long message;

    switch (stop->kind) {
    case STOP_TRAP:
        if (tracee->group_signo && tracee->process)
            ledger_set_stopped(t->ledger, tracee->process->pidref.pid, false);
        tracee->group_signo = 0;
        break;
    case STOP_GROUP:
        on_group_stop(t, tracee, stop);
        break;
    case STOP_SIGNAL_DELIVERY:
        return on_signal(t, tracee, stop);
    case STOP_CLONE:
    case STOP_FORK:
    case STOP_VFORK:
        children_on_event(t, tracee, stop->kind);
        break;
    case STOP_VFORK_DONE:
        if (ptrace_ops_get_event_message(tracee->tid, &message) >= 0)
            e.child.tid = (pid_t)message;
        engine_report(t, tracee, &e);
        break;
    case STOP_EXEC:
        on_exec(t, tracee);
        break;
    case STOP_EXIT:
        on_exit_stop(t, tracee);
        if (!tracee->process)
            children_stray_dies(t, tracee);
        break;
    case STOP_SYSCALL:
    case STOP_SECCOMP:
        calls_on_stop(t, tracee);
        break;
    case STOP_STEP: /* is told from a signal by trap.c */
    case STOP_BREAK:
    case STOP_HARDWARE:
    case STOP_NONE:
    case STOP_EXITED:
    case STOP_KILLED:
        break;
    }
    return true;
}

/* Any stop uses up an interrupt that is under way (kernel/signal.c:ptrace_stop()), so whoever waits
 * for one gets it here, whatever else the thread stopped for. But not in the exit stop: who was
 * killed shall die, and who ends by itself has its end reported. */
static void settle_interrupts(struct trace *t, struct tracee *tracee)
{
    if (tracee->stop == STOP_EXIT)
        engine_drop_interrupts(tracee);
    else
        engine_report(t, tracee, &(struct event){.kind = EVENT_STOP});
}

/* Broken: by SIGKILL, by the group's end, by an exec. What it stood for is void. */
static void forget_stop(struct trace *t, struct tracee *tracee)
{
    engine_drop_holds(tracee);
    if (tracee->ledger_slot >= 0)
        ledger_clear_signal(t->ledger, tracee->ledger_slot);
    tracee->ledger_slot = -1;
    tracee->resume_signo = 0;
    tracee->suppressed = false;
}

/* Stops that cannot be left to the kernel while they are looked at. One for SIGTRAP: when its
 * tracer dies before it has collected it, the tracee gets that signal. (What is left of a
 * system-call-stop then is SIGTRAP | 0x80, which is no signal: kernel/signal.c:send_sig_info()
 * refuses it.) Execs, whose thread answers no request before that, since it changed its id
 * (kernel/ptrace.c:looks_like_a_spurious_pid()). And ends: collecting is what buries the dead. */
static bool collects_at_once(const struct stop *stop)
{
    return stop_is_end(stop->kind) || stop->kind == STOP_EXEC ||
           (stop->kind == STOP_SIGNAL_DELIVERY && stop->signo == SIGTRAP);
}

static bool is_same(const siginfo_t *a, const siginfo_t *b)
{
    return a->si_code == b->si_code && a->si_status == b->si_status;
}

/* Takes a report that was looked at out of the kernel's hands. *report becomes what was collected.
 * Returns 1 where that is the same, 0 where the thread has gone on to another, -ECHILD and the like
 * where there is none. */
static int collect(struct trace *t, siginfo_t *report)
{
    siginfo_t *area = ledger_wait_area(t->ledger);
    int r = wait_thread(report->si_pid, WNOHANG, area);
    bool same;

    if (r <= 0)
        return r < 0 ? r : -EAGAIN;
    same = is_same(report, area);
    *report = *area;
    return same;
}

static void record(struct trace *t, struct tracee *tracee)
{
    siginfo_t info;

    if (tracee->stop == STOP_SIGNAL_DELIVERY && tracee->process &&
        ptrace_ops_get_siginfo(tracee->tid, &info) >= 0)
        tracee->ledger_slot =
            ledger_record_signal(t->ledger, tracee->process->pidref.pid, tracee->tid, &info);
}

/* The thread stays in its stop: then the stop is collected, or every wait would report it again.
 * Its signal is recorded before that, since from then on it is ours alone. Returns what collect()
 * does. */
static int keep(struct trace *t, struct tracee *tracee, siginfo_t *report)
{
    record(t, tracee);
    return collect(t, report);
}

/* On to the SIGTRAP that waits behind this stop; whoever wanted the stop gets that one. It counts
 * as the step's, if it was one, and a group-stop comes again after it (resume.c). */
static int resume_to_trap(struct tracee *tracee)
{
    uint8_t resumed = tracee->resumed;

    if (tracee->stop == STOP_GROUP)
        tracee->owes_group_stop = true;
    (void)ptrace_ops_cont(tracee->tid, 0);
    tracee_apply(tracee, TRACEE_CONT);
    tracee->resumed = resumed;
    return 1;
}

static bool stays(const struct tracee *tracee)
{
    return (!tracee->process && !tracee->unwanted) || engine_is_any_holding(tracee) ||
           process_stands(tracee->process);
}

static int dispatch(struct trace *t, siginfo_t *report, bool collected)
{
    struct tracee *tracee = tidmap_get(&t->tids, report->si_pid);
    struct stop stop;

    stop_decode(report, &stop);
    if (!collected && collects_at_once(&stop)) {
        int r = collect(t, report);

        if (r < 0)
            return r;
        collected = true;
        stop_decode(report, &stop);
    }
    if (!tracee)
        tracee = children_find_unknown(t, report->si_pid, &stop);
    if (!tracee)
        return -ESRCH;
    if (tracee->process && tracee->process->n_awaited > 0) {
        if (stop_is_end(stop.kind) || stop.kind == STOP_EXIT)
            renew_is_killed(tracee->process, tracee);
        else
            renew_give_up(t, tracee->process);
    }
    if (stop_is_end(stop.kind)) {
        on_end(t, tracee, &stop);
        return 1;
    }

    if (tracee->state == TRACEE_STOPPED)
        forget_stop(t, tracee);
    tracee_apply(tracee, TRACEE_STOP);
    tracee->is_kept = false;
    tracee->in_vfork = stop.kind == STOP_VFORK;
    tracee->stop = (uint8_t)stop.kind;
    if ((stop.kind == STOP_TRAP || stop.kind == STOP_GROUP) && trap_is_pending(tracee))
        return resume_to_trap(tracee);
    if (tracee->displaced)
        stepover_finish(t, tracee);
    if (!on_stop(t, tracee, &stop))
        return 1; /* to be reported anew */
    settle_interrupts(t, tracee);
    if (!stays(tracee)) {
        resume_settle(t, tracee);
        tracee = tidmap_get(&t->tids, report->si_pid);
        if (!tracee || tracee->state != TRACEE_STOPPED)
            return 1; /* else it has done a step by emulation, or waits to be stepped in place */
    }
    tracee->is_kept = true;
    if (collected)
        record(t, tracee);
    return collected ? 1 : keep(t, tracee, report);
}

void trace_dispatch(struct trace *t, const siginfo_t *wait)
{
    siginfo_t report = *wait;

    /* 0: the thread went on to another stop, or its end, before the first could be collected. */
    if (dispatch(t, &report, false) == 0)
        while (dispatch(t, &report, true) == 0)
            ;
    if (t->gather)
        control_gather(t);
    regs_done(&t->at_break);
    if (!t->batch)
        stepover_run_later(t);
    if (t->chaperones_due)
        chaperone_release_all(t);
}
