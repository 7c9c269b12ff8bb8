/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/trace/attach.h"
#include "daemon/trace/breakpoint.h"
#include "daemon/trace/chaperone.h"
#include "daemon/trace/freeze.h"
#include "daemon/trace/hardware.h"
#include "daemon/trace/image.h"
#include "daemon/trace/lastwait.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/resume.h"
#include "daemon/trace/space.h"
#include "daemon/trace/trace.h"

static const char *const kind_names[BREAKPOINT_KIND_MAX] = {
    [BREAKPOINT_SOFTWARE] = "software",
    [BREAKPOINT_HARDWARE] = "hardware",
    [BREAKPOINT_WRITE] = "write",
    [BREAKPOINT_READ_WRITE] = "read-write",
};

const char *breakpoint_kind_to_string(enum breakpoint_kind kind)
{
    return kind_names[kind];
}

int breakpoint_kind_from_string(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(kind_names); i++)
        if (strcmp(name, kind_names[i]) == 0)
            return (int)i;
    return -EINVAL;
}

/* A thread that stands at the very address has arrived there already: it goes on from it. */
static void mark_passing(struct process *p, uint64_t address)
{
    struct tracee *tracee;

    TAILQ_FOREACH(tracee, &p->tracees, siblings) {
        uint64_t pc;

        if (tracee->state == TRACEE_STOPPED && engine_is_any_holding(tracee) &&
            regs_read_role(tracee->tid, ARCH_PC, &pc) >= 0 && pc == address)
            tracee->passing_at = address;
    }
}

static int insert(struct trace *t, struct process *p, uint64_t address)
{
    const unsigned n_execs = p->n_execs;
    struct space *s;
    int r;

    if (p->memory.lent_for_writing)
        return -ETXTBSY;
    r = space_get(p, t->ledger, &s);
    if (r < 0)
        return r;
    (void)lastwait_arm(t->ledger, &t->lastwait_fd);
    r = image_check_text(p, address, s->size);
    if (r < 0)
        return r;
    r = attach_cover(t, p);
    if (r >= 0 && p->n_execs != n_execs) /* the address was meant in another program */
        r = -ESTALE;
    if (r >= 0)
        r = space_insert(p, t->ledger, address);
    if (r >= 0)
        mark_passing(p, address);
    else
        chaperone_release(t, p);
    return r;
}

static enum hardware_kind hardware_kind_of(enum breakpoint_kind kind)
{
    return kind == BREAKPOINT_HARDWARE ? HARDWARE_EXECUTE
           : kind == BREAKPOINT_WRITE  ? HARDWARE_WRITE
                                       : HARDWARE_READ_WRITE;
}

/* Every thread that stands has them now; the others when they are resumed the next time. */
static int sync_standing(struct process *p)
{
    struct tracee *tracee;

    TAILQ_FOREACH(tracee, &p->tracees, siblings) {
        int r = 0;

        if (tracee->state == TRACEE_STOPPED && tracee->engines)
            r = hardware_sync(&p->hardware, tracee->tid, &tracee->hardware_known);
        if (r < 0 && r != -ESRCH)
            return r;
    }
    return 0;
}

static int take_slot(struct trace *t, struct process *p, struct breakpoint *b)
{
    const unsigned n_execs = p->n_execs;
    struct freeze f;
    int r =
        hardware_add(&p->hardware, b->o.address, b->o.size, hardware_kind_of(b->o.kind), b->o.tid);

    if (r < 0)
        return r;
    b->slot = (unsigned)r;
    r = process_guard(t, p);
    if (r < 0) {
        hardware_remove(&p->hardware, b->slot);
        return r;
    }
    freeze_begin(&f, t, p);
    r = p->n_execs == n_execs ? sync_standing(p) : -ESTALE;
    if (r < 0 && r != -ESTALE) /* else the exec has taken all slots */
        hardware_remove(&p->hardware, b->slot);
    freeze_end(&f);
    return r;
}

static struct breakpoint *find(const struct attachment *a, uint32_t id)
{
    struct breakpoint *b;

    TAILQ_FOREACH(b, &a->breakpoints, breakpoints)
        if (b->id == id)
            return b;
    return NULL;
}

static int put(struct trace *t, struct process *p, struct breakpoint *b)
{
    switch (b->o.kind) {
    case BREAKPOINT_SOFTWARE:
        return insert(t, p, b->o.address);
    case BREAKPOINT_HARDWARE:
    case BREAKPOINT_WRITE:
    case BREAKPOINT_READ_WRITE:
        return take_slot(t, p, b);
    case BREAKPOINT_KIND_MAX:
        break;
    }
    return -EINVAL;
}

static void take(struct trace *t, struct process *p, const struct breakpoint *b)
{
    struct tracee *tracee;

    if (b->o.kind == BREAKPOINT_SOFTWARE) {
        space_remove(t, p, b->o.address, false);
        return;
    }
    hardware_remove(&p->hardware, b->slot);
    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        resume_kick(tracee);
}

/* Threads are attached or stopped for it, and what they report meanwhile is dealt with: so the
 * session may have lost the process by the end, -ESRCH. */
static int put_attended(struct trace *t, struct attachment *a, struct breakpoint *b)
{
    struct process *p = a->process;
    struct session *s = a->session;
    int r;

    p->n_pins++;
    r = put(t, p, b);
    if (session_find(s, p->pidref.pid) != a) {
        if (r >= 0)
            take(t, p, b);
        r = -ESRCH;
    }
    p->n_pins--;
    process_collect(t, p);
    return r;
}

int breakpoint_add(struct trace *t, struct attachment *a, const struct breakpoint_options *o,
                   uint32_t *ret_id)
{
    struct quota_user *quota = a->session->quota; /* who stays, though the attachment may go */
    struct breakpoint *b;
    int r;

    if (!quota_take(quota, QUOTA_BREAKPOINTS))
        return -EDQUOT;
    b = calloc(1, sizeof(*b));
    if (!b) {
        quota_give(quota, QUOTA_BREAKPOINTS);
        return -ENOMEM;
    }
    b->o = *o;
    if (o->kind == BREAKPOINT_HARDWARE)
        b->o.size = 1;
    r = put_attended(t, a, b);
    if (r < 0) {
        free(b);
        quota_give(quota, QUOTA_BREAKPOINTS);
        return r;
    }
    b->id = ++a->last_breakpoint;
    TAILQ_INSERT_TAIL(&a->breakpoints, b, breakpoints);
    *ret_id = b->id;
    return 0;
}

static void drop(struct attachment *a, struct breakpoint *b)
{
    TAILQ_REMOVE(&a->breakpoints, b, breakpoints);
    quota_give(a->session->quota, QUOTA_BREAKPOINTS);
    free(b);
}

int breakpoint_remove(struct trace *t, struct attachment *a, uint32_t id)
{
    struct breakpoint *b = find(a, id);

    if (!b)
        return -ENOENT;
    take(t, a->process, b);
    drop(a, b);
    chaperone_release(t, a->process);
    return 0;
}

void breakpoint_remove_all(struct trace *t, struct attachment *a)
{
    if (TAILQ_EMPTY(&a->breakpoints))
        return;
    while (!TAILQ_EMPTY(&a->breakpoints)) {
        struct breakpoint *b = TAILQ_FIRST(&a->breakpoints);

        if (!t->leaving)
            take(t, a->process, b);
        drop(a, b);
    }
    t->chaperones_due = true;
}

void breakpoint_forget_all(struct trace *t, struct attachment *a)
{
    while (!TAILQ_EMPTY(&a->breakpoints)) {
        struct breakpoint *b = TAILQ_FIRST(&a->breakpoints);

        if (b->o.kind == BREAKPOINT_SOFTWARE && a->process->space)
            space_remove(t, a->process, b->o.address, true);
        drop(a, b);
    }
}

/* False: there is no room for it in the child. */
static bool copy_one(struct trace *t, struct process *p, struct breakpoint *b)
{
    int slot;

    if (b->o.tid != 0) /* a thread of the parent's */
        return false;
    if (b->o.kind == BREAKPOINT_SOFTWARE) {
        if (p->space)
            space_adopt(p->space, b->o.address);
        return p->space != NULL;
    }
    slot = hardware_add(&p->hardware, b->o.address, b->o.size, hardware_kind_of(b->o.kind), 0);
    if (slot < 0)
        return false;
    b->slot = (unsigned)slot;
    if (process_guard(t, p) >= 0)
        return true;
    hardware_remove(&p->hardware, b->slot);
    return false;
}

void breakpoint_copy_all(struct trace *t, const struct attachment *from, struct attachment *to)
{
    const struct breakpoint *b;

    TAILQ_FOREACH(b, &from->breakpoints, breakpoints) {
        struct breakpoint *copy = malloc(sizeof(*copy));

        if (!copy)
            break; /* what nobody takes is restored in the child */
        *copy = *b;
        copy->reached = copy->hits = 0;
        if (!quota_take(to->session->quota, QUOTA_BREAKPOINTS)) {
            free(copy);
            break;
        }
        if (!copy_one(t, to->process, copy)) {
            quota_give(to->session->quota, QUOTA_BREAKPOINTS);
            free(copy);
            continue;
        }
        TAILQ_INSERT_TAIL(&to->breakpoints, copy, breakpoints);
    }
    to->last_breakpoint = from->last_breakpoint;
}

/* ---- Hits ---------------------------------------------------------------------------------- */

static bool counts(struct breakpoint *b, const struct tracee *tracee, struct regs *regs)
{
    b->reached++;
    if (b->o.tid != 0 && b->o.tid != tracee->tid)
        return false;
    if (!condition_holds(&b->o.condition, tracee->process, regs))
        return false;
    if (b->o.ignore > 0) {
        b->o.ignore--;
        return false;
    }
    b->hits++;
    return true;
}

static void tell(struct trace *t, struct tracee *tracee, struct engine *engine,
                 const struct breakpoint *b)
{
    struct event e = {
        .kind = b->o.kind >= BREAKPOINT_WRITE ? EVENT_WATCHPOINT : EVENT_BREAKPOINT,
        .breakpoint = {.id = b->id,
                       .address = b->o.address,
                       .access = breakpoint_kind_to_string(b->o.kind)},
    };

    engine_tell(t, tracee, engine, &e, !b->o.report_only);
}

static void hit_one(struct trace *t, struct tracee *tracee, struct engine *engine,
                    struct breakpoint *b, struct regs *regs)
{
    if (!counts(b, tracee, regs))
        return;
    tell(t, tracee, engine, b);
    if (!b->o.temporary)
        return;
    take(t, tracee->process, b);
    drop(engine->attachment, b);
    t->chaperones_due = true;
}

void breakpoint_on_hardware(struct trace *t, struct tracee *tracee, struct regs *regs,
                            uint32_t mask)
{
    for (struct engine *e = tracee->engines; e; e = e->next) {
        struct breakpoint *b, *next;

        for (b = TAILQ_FIRST(&e->attachment->breakpoints); b; b = next) {
            next = TAILQ_NEXT(b, breakpoints);
            if (b->o.kind != BREAKPOINT_SOFTWARE && (mask >> b->slot & 1))
                hit_one(t, tracee, e, b, regs);
        }
    }
}

void breakpoint_on_hit(struct trace *t, struct tracee *tracee, struct regs *regs, uint64_t address)
{
    for (struct engine *e = tracee->engines; e; e = e->next) {
        struct breakpoint *b, *next;

        for (b = TAILQ_FIRST(&e->attachment->breakpoints); b; b = next) {
            next = TAILQ_NEXT(b, breakpoints);
            if (b->o.kind == BREAKPOINT_SOFTWARE && b->o.address == address)
                hit_one(t, tracee, e, b, regs);
        }
    }
}
