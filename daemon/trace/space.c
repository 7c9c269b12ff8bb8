/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/trace/arch.h"
#include "daemon/trace/image.h"
#include "daemon/trace/ledger.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/process.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/regs.h"
#include "daemon/trace/space.h"
#include "daemon/trace/trace.h"

#ifndef NT_X86_SHSTK
#define NT_X86_SHSTK 0x204
#endif

static struct space *space_new(pid_t owner, struct ledger *ledger, const uint8_t *instruction,
                               uint8_t size)
{
    struct space *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->references = 1;
    s->owner = owner;
    s->ledger = ledger;
    s->size = size;
    memcpy(s->instruction, instruction, sizeof(s->instruction));
    s->scratch_address = UINT64_MAX;
    return s;
}

int space_get(struct process *p, struct ledger *ledger, struct space **ret)
{
    const struct arch *arch;
    int r;

    if (!p->space) {
        r = arch_of_process(p->pidref.pid, &arch);
        if (r < 0)
            return r;
        if (!arch)
            return -EOPNOTSUPP;
        p->space = space_new(p->pidref.pid, ledger, arch->breakpoint, arch->breakpoint_size);
        if (!p->space)
            return -ENOMEM;
    }
    *ret = p->space;
    return 0;
}

void space_share(struct process *p, struct space *s)
{
    s->references++;
    p->space = s;
}

void space_forget(struct process *p)
{
    struct space *s = p->space;

    p->space = NULL;
    if (!s || --s->references > 0)
        return;
    for (size_t i = 0; i < s->n_locations; i++)
        ledger_clear_text(s->ledger, s->locations[i].ledger_slot);
    for (unsigned i = 0; i < SCRATCHES_MAX; i++)
        if (s->scratches[i].used)
            ledger_clear_text(s->ledger, s->scratches[i].ledger_slot);
    free(s->locations);
    free(s);
}

/* The first location at or behind an address. */
static size_t lower_bound(const struct space *s, uint64_t address)
{
    size_t low = 0, high = s->n_locations;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->locations[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct location *space_find(const struct space *s, uint64_t address)
{
    size_t i = s ? lower_bound(s, address) : 0;

    return s && i < s->n_locations && s->locations[i].address == address ? &s->locations[i] : NULL;
}

static int add_location(struct space *s, const struct location *l)
{
    size_t i = lower_bound(s, l->address);
    struct location *grown;

    if (s->n_locations == LOCATIONS_MAX)
        return -ENOSPC;
    grown = reallocarray(s->locations, s->n_locations + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    s->locations = grown;
    memmove(&grown[i + 1], &grown[i], (s->n_locations - i) * sizeof(*grown));
    grown[i] = *l;
    s->n_locations++;
    return 0;
}

static void drop_location(struct space *s, struct location *l)
{
    size_t i = (size_t)(l - s->locations);

    s->n_locations--;
    memmove(l, l + 1, (s->n_locations - i) * sizeof(*l));
}

static int write_whole(struct process *p, uint64_t address, const void *bytes, size_t size)
{
    ssize_t n = memory_write_text(p, address, bytes, size);

    return n < 0 ? (int)n : (size_t)n < size ? -EFAULT : 0;
}

/* Recorded, then known, then written: from its record on the guardian can undo it. */
static int insert_new(struct process *p, uint64_t address)
{
    struct space *s = p->space;
    struct location l = {.address = address, .references = 1};
    ssize_t n = memory_read(p, address, l.original, s->size);
    int r;

    if (n < (ssize_t)s->size)
        return n < 0 ? (int)n : -EFAULT;
    l.ledger_slot = ledger_record_text(s->ledger, s->owner, address, l.original, s->size);
    if (l.ledger_slot < 0)
        return l.ledger_slot;
    r = add_location(s, &l);
    if (r >= 0) {
        r = write_whole(p, address, s->instruction, s->size);
        if (r < 0)
            drop_location(s, space_find(s, address));
    }
    if (r < 0)
        ledger_clear_text(s->ledger, l.ledger_slot);
    return r;
}

int space_insert(struct process *p, struct ledger *ledger, uint64_t address)
{
    struct space *s;
    struct location *l;
    int r = space_get(p, ledger, &s);

    if (r < 0)
        return r;
    l = space_find(s, address);
    if (!l)
        return insert_new(p, address);
    l->references++;
    return 0;
}

static void forget_location(struct space *s, struct location *l)
{
    ledger_clear_text(s->ledger, l->ledger_slot);
    drop_location(s, l);
}

/* Where nobody has that memory any more there is nothing to restore. */
static void restore(struct trace *t, struct space *s, struct location *l,
                    const struct process *except)
{
    struct process *p;

    TAILQ_FOREACH(p, &t->processes, processes)
        if (p != except && p->space == s && write_whole(p, l->address, l->original, s->size) >= 0)
            break;
    forget_location(s, l);
}

void space_remove(struct trace *t, struct process *p, uint64_t address, bool p_has_left)
{
    struct location *l = space_find(p->space, address);

    if (l && --l->references == 0)
        restore(t, p->space, l, p_has_left ? p : NULL);
}

/* ---- Copies -------------------------------------------------------------------------------- */

void space_clean_copy(const struct space *s, pid_t pid)
{
    for (size_t i = 0; i < s->n_locations; i++)
        memory_write_of(pid, s->locations[i].address, s->locations[i].original, s->size);
    for (unsigned i = 0; i < SCRATCHES_MAX; i++)
        if (s->scratches[i].used)
            memory_write_of(pid, s->scratch_address + i * SCRATCH_SIZE, s->scratches[i].original,
                            SCRATCH_SIZE);
}

int space_copy(const struct space *from, struct process *child)
{
    struct space *s = space_new(child->pidref.pid, from->ledger, from->instruction, from->size);
    int r = 0;

    if (!s)
        return -ENOMEM;
    child->space = s;
    for (size_t i = 0; i < from->n_locations && r >= 0; i++) {
        struct location l = from->locations[i];

        l.references = 0;
        l.ledger_slot = ledger_record_text(s->ledger, s->owner, l.address, l.original, s->size);
        r = l.ledger_slot < 0 ? l.ledger_slot : add_location(s, &l);
    }
    for (unsigned i = 0; i < SCRATCHES_MAX; i++)
        if (from->scratches[i].used)
            memory_write_of(child->pidref.pid, from->scratch_address + i * SCRATCH_SIZE,
                            from->scratches[i].original, SCRATCH_SIZE);
    if (r < 0) {
        space_clean_copy(from, child->pidref.pid);
        space_forget(child);
    }
    return r;
}

void space_adopt(struct space *s, uint64_t address)
{
    struct location *l = space_find(s, address);

    if (l)
        l->references++;
}

void space_settle_copy(struct trace *t, struct process *child)
{
    for (size_t i = child->space->n_locations; i-- > 0;)
        if (child->space->locations[i].references == 0)
            restore(t, child->space, &child->space->locations[i], NULL);
}

/* ---- What is read and written -------------------------------------------------------------- */

static void overlay(uint64_t address, uint8_t *buffer, size_t size, uint64_t at,
                    const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (at + i >= address && at + i - address < size)
            buffer[at + i - address] = bytes[i];
}

static bool is_before_end(const struct location *l, uint64_t address, size_t size)
{
    return l->address < address || l->address - address < size;
}

/* A scratch may hold a location too; what is below a scratch was masked when it was taken. */
void space_mask(const struct space *s, uint64_t address, void *buffer, size_t size)
{
    size_t i = lower_bound(s, address >= LOCATION_SIZE_MAX ? address - LOCATION_SIZE_MAX : 0);

    for (; i < s->n_locations && is_before_end(&s->locations[i], address, size); i++)
        overlay(address, buffer, size, s->locations[i].address, s->locations[i].original, s->size);
    for (unsigned k = 0; k < SCRATCHES_MAX; k++)
        if (s->scratches[k].used)
            overlay(address, buffer, size, s->scratch_address + k * SCRATCH_SIZE,
                    s->scratches[k].original, SCRATCH_SIZE);
}

static ssize_t divert_into(uint64_t at, uint8_t *original, size_t n, uint64_t address,
                           const uint8_t *bytes, size_t size, bool *ret_hit)
{
    if (address >= at && address - at < n) {
        original[address - at] = bytes[0];
        *ret_hit = true;
        return -1;
    }
    return at > address && at - address < size ? (ssize_t)(at - address) : (ssize_t)size;
}

ssize_t space_divert(struct space *s, uint64_t address, const uint8_t *bytes, size_t size)
{
    size_t i = lower_bound(s, address >= LOCATION_SIZE_MAX ? address - LOCATION_SIZE_MAX : 0);
    ssize_t own = (ssize_t)size;

    for (; i < s->n_locations && is_before_end(&s->locations[i], address, size); i++) {
        struct location *l = &s->locations[i];
        bool hit = false;
        ssize_t n = divert_into(l->address, l->original, s->size, address, bytes, size, &hit);

        if (hit) {
            ledger_update_text(s->ledger, l->ledger_slot, l->original, s->size);
            return -1;
        }
        if (n < own)
            own = n;
    }
    for (unsigned k = 0; k < SCRATCHES_MAX; k++) {
        struct scratch *c = &s->scratches[k];
        bool hit = false;
        ssize_t n;

        if (!c->used)
            continue;
        n = divert_into(s->scratch_address + k * SCRATCH_SIZE, c->original, SCRATCH_SIZE, address,
                        bytes, size, &hit);
        if (hit) {
            ledger_update_text(s->ledger, c->ledger_slot, c->original, SCRATCH_SIZE);
            return -1;
        }
        if (n < own)
            own = n;
    }
    return own;
}

/* ---- For passing a breakpoint -------------------------------------------------------------- */

bool space_has_shadow_stack(struct space *s, pid_t tid)
{
    uint8_t bytes[16];
    size_t size = sizeof(bytes);

    if (!s->shadow_stack_is_known) {
        s->has_shadow_stack = ptrace_ops_get_regset(tid, NT_X86_SHSTK, bytes, &size) >= 0;
        s->shadow_stack_is_known = true;
    }
    return s->has_shadow_stack;
}

bool space_suspend(struct space *s, struct process *p, uint64_t address)
{
    const struct location *l = space_find(s, address);

    return l && write_whole(p, address, l->original, s->size) >= 0;
}

void space_resume(struct space *s, struct process *p, uint64_t address)
{
    if (space_find(s, address))
        (void)write_whole(p, address, s->instruction, s->size);
}

/* The entry point's code has run when a program is under way, and does not run again; gdb displaces
 * there too. */
static void find_scratches(struct process *p)
{
    struct space *s = p->space;

    if (image_entry_point(p, &s->scratch_address) < 0 ||
        image_check_text(p, s->scratch_address, (size_t)SCRATCHES_MAX * SCRATCH_SIZE) < 0)
        s->scratch_address = 0;
}

/* A breakpoint inside of it keeps us from that: what is executed there must be ours. */
static bool is_free(const struct space *s, unsigned i)
{
    uint64_t address = s->scratch_address + i * SCRATCH_SIZE;
    size_t k = lower_bound(s, address - LOCATION_SIZE_MAX);

    return !s->scratches[i].used &&
           (k == s->n_locations || s->locations[k].address >= address + SCRATCH_SIZE);
}

static int take_scratch(struct process *p, unsigned i)
{
    struct space *s = p->space;
    uint64_t address = s->scratch_address + i * SCRATCH_SIZE;
    struct scratch *c = &s->scratches[i];

    if (memory_read(p, address, c->original, SCRATCH_SIZE) != (ssize_t)SCRATCH_SIZE)
        return -EOPNOTSUPP;
    c->ledger_slot = ledger_record_text(s->ledger, s->owner, address, c->original, SCRATCH_SIZE);
    if (c->ledger_slot < 0)
        return c->ledger_slot;
    c->used = true;
    return 0;
}

int space_take_scratch(struct process *p, uint64_t *ret_address)
{
    struct space *s = p->space;

    if (s->scratch_address == UINT64_MAX)
        find_scratches(p);
    if (s->scratch_address == 0)
        return -EOPNOTSUPP;
    for (unsigned i = 0; i < SCRATCHES_MAX; i++) {
        int r;

        if (!is_free(s, i))
            continue;
        r = take_scratch(p, i);
        if (r < 0)
            return r;
        *ret_address = s->scratch_address + i * SCRATCH_SIZE;
        return (int)i;
    }
    return -EAGAIN;
}

int space_write_scratch(struct process *p, unsigned i, const uint8_t *bytes, size_t size)
{
    return write_whole(p, p->space->scratch_address + i * SCRATCH_SIZE, bytes, size);
}

void space_return_scratch(struct process *p, unsigned i)
{
    struct space *s = p->space;
    struct scratch *c = &s->scratches[i];

    (void)write_whole(p, s->scratch_address + i * SCRATCH_SIZE, c->original, SCRATCH_SIZE);
    ledger_clear_text(s->ledger, c->ledger_slot);
    c->used = false;
}
