/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/trace/arch.h"
#include "daemon/trace/event.h"
#include "daemon/trace/lastwait.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/procfs.h"
#include "daemon/trace/repair-text.h"
#include "daemon/trace/space.h"
#include "daemon/trace/stop.h"

/* For all threads to stand, who may be waiting for a processor. Meanwhile the tracer stands, and so
 * do all that it traces. */
#define PATIENCE_USEC (3 * 1000 * 1000)
#define LOOK_USEC 100
/* For all that comes after the tracer's death; who is late is let go as it is. */
#define TREATMENT_USEC (6 * 1000 * 1000)

/* ---- The plan ------------------------------------------------------------------------------ */

/* Nothing in the ledger is taken for granted. */
static bool is_sound(const struct ledger_text *t)
{
    return t->pid > 0 && t->size > 0 && t->size <= LEDGER_TEXT_SIZE_MAX && t->address < INT64_MAX &&
           t->copy.length <= INSN_LENGTH_MAX && t->copy.scratch >= -1 && t->copy.scratch < 16;
}

static pid_t find_trapped(const struct ledger *l)
{
    siginfo_t wait = *ledger_get_last_wait(l);
    struct stop stop;

    if (wait.si_pid <= 0)
        return 0;
    stop_decode(&wait, &stop);
    return stop.kind == STOP_SIGNAL_DELIVERY && stop.signo == SIGTRAP ? wait.si_pid : 0;
}

static bool has_debugged(const struct ledger *l)
{
    for (int i = 0; i < ledger_get_processes_used(l); i++)
        if (ledger_get_process(l, i)->pid > 0 && ledger_get_process(l, i)->debugged)
            return true;
    return false;
}

int repair_text_plan(struct ledger *l, struct repair_text **ret)
{
    int used = ledger_get_texts_used(l);
    struct repair_text *r;

    r = calloc(1, sizeof(*r) + (size_t)used * sizeof(r->patches[0]));
    if (!r)
        return -ENOMEM;
    r->ledger = l;
    r->tracer = ledger_get_tracer(l);
    r->trapped = find_trapped(l);
    for (int i = 0; i < used; i++) {
        struct patch *patch = &r->patches[r->n_patches];

        patch->text = *ledger_get_text(l, i);
        if (is_sound(&patch->text))
            r->n_patches++;
    }
    *ret = r->n_patches > 0 || has_debugged(l) ? r : repair_text_free(r);
    return 0;
}

struct repair_text *repair_text_free(struct repair_text *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->n_patients; i++)
        pidref_done(&r->patients[i].process);
    free(r->patients);
    repair_first_free(r->first);
    free(r);
    return NULL;
}

/* ---- Whom it concerns ---------------------------------------------------------------------- */

struct asking {
    struct repair_text *repair;
    struct patient *patient;
    unsigned n; /* threads that the answer holds for */
};

static int is_traced_by(pid_t tid, void *userdata)
{
    const struct repair_text *r = userdata;
    struct proc_status status;

    return proc_read_status(tid, &status) >= 0 && status.tracer == r->tracer;
}

static bool is_known(const struct repair_text *r, pid_t pid)
{
    for (size_t i = 0; i < r->n_patients; i++)
        if (r->patients[i].process.pid == pid)
            return true;
    return false;
}

static const struct ledger_process *find_in_ledger(const struct repair_text *r, pid_t pid)
{
    for (int i = 0; i < ledger_get_processes_used(r->ledger); i++)
        if (ledger_get_process(r->ledger, i)->pid == pid)
            return ledger_get_process(r->ledger, i);
    return NULL;
}

/* Somebody's SIGSTOP is on its way, or is what a thread stands at: told from ours by being there
 * before. */
static int is_about_to_stop(pid_t tid, void *userdata)
{
    const struct patient *p = userdata;
    struct proc_status status;
    struct proc_stat stat;

    if (proc_read_stat(p->process.pid, tid, &stat) >= 0 && stat.state == 't' &&
        stat.exit_code == SIGSTOP)
        return 1;
    return proc_read_status(tid, &status) >= 0 && (status.pending & UINT64_C(1) << (SIGSTOP - 1));
}

/* Not one that has got the number of a dead one: what the standing tracer traces is not reaped. */
static void add_patient(struct repair_text *r, pid_t pid, pid_t text_of)
{
    const struct ledger_process *l = find_in_ledger(r, pid);
    struct patient p = {.text_of = text_of};

    if (is_known(r, pid) || r->n_patients == REPAIR_PROCESSES_MAX ||
        proc_for_each_thread(pid, is_traced_by, r) <= 0)
        return;
    if (!r->patients) /* all at once: a signal handler reads it */
        r->patients = calloc(REPAIR_PROCESSES_MAX, sizeof(*r->patients));
    if (!r->patients)
        return;
    if (pidref_open(pid, &p.process) < 0)
        return;
    p.is_debugged = l && l->debugged;
    p.was_stopped = (l && l->stopped) || proc_for_each_thread(pid, is_about_to_stop, &p) > 0;
    r->patients[r->n_patients++] = p;
}

/* A child whose creator's event the tracer did not come to has copies of the breakpoints, or uses
 * the same memory. */
static int add_children(pid_t tid, void *userdata)
{
    struct asking *a = userdata;
    _cleanup_free_ char *line = NULL;
    size_t size = 0;
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", a->patient->process.pid, tid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    while (getdelim(&line, &size, ' ', f) > 0) {
        pid_t child = (pid_t)strtol(line, NULL, 10), text_of = a->patient->text_of;

        if (child > 0)
            add_patient(a->repair, child, text_of);
    }
    fclose(f);
    return 0;
}

static void find_patients(struct repair_text *r)
{
    for (size_t i = 0; i < r->n_patches; i++)
        add_patient(r, r->patches[i].text.pid, r->patches[i].text.pid);
    for (int i = 0; i < ledger_get_processes_used(r->ledger); i++) {
        const struct ledger_process *l = ledger_get_process(r->ledger, i);

        if (l->pid > 0 && l->debugged)
            add_patient(r, l->pid, l->pid);
    }
    for (size_t i = 0; i < r->n_patients; i++) {
        struct asking a = {.repair = r, .patient = &r->patients[i]};

        (void)proc_for_each_thread(a.patient->process.pid, add_children, &a);
    }
}

/* ---- They stop ----------------------------------------------------------------------------- */

static int send_stop(pid_t tid, void *userdata)
{
    const struct patient *p = userdata;

    (void)syscall(SYS_tgkill, p->process.pid, tid, SIGSTOP);
    return 0;
}

/* Who sleeps where no signal wakes it meets its SIGSTOP before it executes anything. */
static bool stands(char state)
{
    return state == 't' || state == 'T' || state == 'D' || state == 'Z' || state == 'X';
}

static int count_running(pid_t tid, void *userdata)
{
    struct asking *a = userdata;
    struct proc_stat stat;

    if (proc_read_stat(a->patient->process.pid, tid, &stat) < 0 || stands(stat.state))
        return 0;
    a->n++;
    return send_stop(tid, a->patient); /* it may be new */
}

static void stop_all(struct repair_text *r, uint64_t end)
{
    const struct timespec nap = {.tv_nsec = LOOK_USEC * 1000};
    unsigned running;

    for (size_t i = 0; i < r->n_patients; i++)
        (void)proc_for_each_thread(r->patients[i].process.pid, send_stop, &r->patients[i]);
    do {
        running = 0;
        for (size_t i = 0; i < r->n_patients; i++) {
            struct asking a = {.patient = &r->patients[i]};

            (void)proc_for_each_thread(a.patient->process.pid, count_running, &a);
            running += a.n;
        }
        if (running > 0)
            nanosleep(&nap, NULL);
    } while (running > 0 && event_now_usec() < end);
}

/* What a thread stands at that nobody has collected. */
static int judge_thread(pid_t tid, void *userdata)
{
    struct asking *a = userdata;
    struct proc_stat stat;

    if (proc_read_stat(a->patient->process.pid, tid, &stat) < 0 || stat.state != 't')
        return 0;
    if (stat.exit_code == SIGTRAP)
        a->n++;
    if (stat.exit_code >> 8 == PTRACE_EVENT_STOP && ledger_signal_stops(stat.exit_code & 0xff))
        a->patient->was_stopped = true;
    if (stat.exit_code >> 8 == PTRACE_EVENT_EXEC)
        a->patient->is_other = true;
    return 0;
}

static bool has_executed(const struct repair_text *r, const struct patient *p)
{
    const siginfo_t *wait = ledger_get_last_wait(r->ledger);
    struct stop stop;

    if (wait->si_pid != p->process.pid)
        return false;
    stop_decode(wait, &stop);
    return stop.kind == STOP_EXEC;
}

/* Returns whether anybody stands at a SIGTRAP that would kill it. */
static bool judge(struct repair_text *r)
{
    unsigned trapped = 0;

    for (size_t i = 0; i < r->n_patients; i++) {
        struct asking a = {.patient = &r->patients[i]};

        a.patient->is_other = has_executed(r, a.patient);
        (void)proc_for_each_thread(a.patient->process.pid, judge_thread, &a);
        trapped += a.n;
    }
    return trapped > 0;
}

/* ---- Their text ---------------------------------------------------------------------------- */

static bool is_breakpoint(const uint8_t *bytes, uint32_t size)
{
    const struct arch *archs[] = {&arch_x86_64, &arch_aarch64};

    for (size_t i = 0; i < ARRAY_LENGTH(archs); i++)
        if (archs[i]->breakpoint_size == size && memcmp(archs[i]->breakpoint, bytes, size) == 0)
            return true;
    return false;
}

static bool is_scratch(const struct ledger_text *t)
{
    return t->size > LOCATION_SIZE_MAX;
}

static bool holds_copy(const struct ledger_text *t, const uint8_t *bytes)
{
    return t->through != 0 && t->copy.length > 0 &&
           memcmp(bytes, t->copy.bytes, t->copy.length) == 0;
}

static void give_back(const struct patient *p, struct patch *patch, int fd)
{
    const struct ledger_text *t = &patch->text;
    uint8_t bytes[LEDGER_TEXT_SIZE_MAX];

    if (pread(fd, bytes, t->size, (off_t)t->address) != (ssize_t)t->size)
        return;
    if (is_breakpoint(bytes, t->size))
        patch->was_active = true;
    else if (!is_scratch(t) || (p->text_of != p->process.pid && !holds_copy(t, bytes)))
        return;
    (void)!pwrite(fd, t->original, t->size, (off_t)t->address);
}

/* A scratch may lie over a breakpoint's original, never the other way round: they are given back
 * after the breakpoints. */
static void give_all_back(struct repair_text *r, const struct patient *p, bool scratches)
{
    _cleanup_close_ int fd = -1;
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/mem", p->process.pid);
    fd = open(path, O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < r->n_patches && fd >= 0; i++) {
        struct patch *patch = &r->patches[i];

        if (patch->text.pid == p->text_of && is_scratch(&patch->text) == scratches)
            give_back(p, patch, fd);
    }
}

bool repair_text_is_active(const struct repair_text *r, const struct patient *p, uint64_t address)
{
    for (size_t i = 0; i < r->n_patches; i++)
        if (r->patches[i].was_active && r->patches[i].text.pid == p->text_of &&
            r->patches[i].text.address == address)
            return true;
    return false;
}

void repair_text_hold(struct repair_text *r)
{
    const uint64_t end = event_now_usec() + PATIENCE_USEC;
    bool trapped;

    find_patients(r);
    stop_all(r, end);
    find_patients(r); /* who was forked in between */
    stop_all(r, end);
    trapped = judge(r);
    for (size_t i = 0; i < r->n_patients; i++)
        if (!r->patients[i].is_other) {
            give_all_back(r, &r->patients[i], false);
            give_all_back(r, &r->patients[i], true);
        }
    /* The first may be what a thread stands at, and be collected below. */
    for (size_t i = 0; i < r->n_patients; i++)
        (void)proc_for_each_thread(r->patients[i].process.pid, send_stop, &r->patients[i]);
    if (trapped)
        (void)lastwait_ring(r->ledger);
    repair_first_prepare(r->tracer, r->patients, r->n_patients, &r->first);
}

void repair_text_give_up(const struct repair_text *r)
{
    repair_first_give_up(r->first);
    for (size_t i = 0; i < r->n_patients; i++)
        if (!r->patients[i].was_stopped)
            (void)kill(r->patients[i].process.pid, SIGCONT);
}

/* ---- Afterwards ---------------------------------------------------------------------------- */

/* Swallowed with the traps. Of a patient's the SIGSTOP is ours. */
static void give_signal_back(const struct repair_text *r, const siginfo_t *collected)
{
    siginfo_t wait = *collected;
    struct proc_status status;
    struct stop stop;

    if (wait.si_pid <= 0 || proc_read_status(wait.si_pid, &status) < 0)
        return;
    stop_decode(&wait, &stop);
    if (stop.kind != STOP_SIGNAL_DELIVERY || stop.signo == SIGTRAP ||
        (stop.signo == SIGSTOP && is_known(r, status.tgid)))
        return;
    (void)syscall(SYS_tgkill, status.tgid, wait.si_pid, stop.signo);
}

void repair_text_run(struct repair_text *r)
{
    const siginfo_t *waits = ledger_last_waits(r->ledger);

    repair_first_seize(r->first);
    r->end_usec = event_now_usec() + TREATMENT_USEC;
    for (size_t i = 0; i < r->n_patients; i++)
        if (pidref_exists(&r->patients[i].process))
            repair_threads(r, &r->patients[i]);
    for (unsigned i = 0; i < LEDGER_LAST_WAITS; i++)
        give_signal_back(r, &waits[i]);
}
