/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/trap.h"

static bool is_in_range(const struct engine *e, uint64_t pc)
{
    return e->range_start <= pc && pc < e->range_end;
}

/* Whether an engine's step is over; inside its range it goes on. */
static bool is_done(const struct tracee *tracee, const struct engine *e)
{
    uint64_t pc;

    if (e->mode > RESUME_BLOCK_STEP)
        return false;
    if (e->range_start == e->range_end)
        return true;
    return regs_read_role(tracee->tid, ARCH_PC, &pc) < 0 || !is_in_range(e, pc);
}

static void on_step(struct trace *t, struct tracee *tracee)
{
    struct event e = {.kind = EVENT_STEP};

    for (struct engine *engine = tracee->engines; engine; engine = engine->next)
        if (is_done(tracee, engine))
            engine_tell(t, tracee, engine, &e, true);
}

bool trap_on_stop(struct trace *t, struct tracee *tracee, const siginfo_t *info)
{
    enum stop_kind kind = stop_classify_trap(info, tracee->resumed <= RESUME_BLOCK_STEP);

    switch (kind) {
    case STOP_STEP:
        tracee->stop = STOP_STEP;
        on_step(t, tracee);
        return true;
    default:
        return false;
    }
}
