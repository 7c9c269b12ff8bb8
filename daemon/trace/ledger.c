/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/trace/ledger.h"
#include "daemon/trace/shared.h"

struct slot {
    struct ledger_signal signal;
    int32_t next_free; /* slot number + 1; 0 ends the list */
};

struct text_slot {
    struct ledger_text text;
    int32_t next_free;
};

struct ledger {
    pid_t tracer;
    int32_t used;       /* slots below are or were in use */
    int32_t first_free; /* slot number + 1 */
    int32_t n_stops;    /* records of stopping signals that are not undone */
    siginfo_t last_wait;
    uint32_t bell;
    siginfo_t last_waits[LEDGER_LAST_WAITS];
    bool left; /* nothing is cleared any more */
    int32_t processes_used;
    struct ledger_process processes[LEDGER_PROCESSES];
    int32_t texts_used;
    int32_t first_free_text;
    struct text_slot texts[LEDGER_TEXTS];
    struct slot slots[LEDGER_SLOTS];
};

int ledger_create(int *ret_fd)
{
    return shared_create("ptraced-ledger", sizeof(struct ledger), ret_fd);
}

int ledger_map(int fd, struct ledger **ret)
{
    void *p;
    int r = shared_map(fd, sizeof(**ret), &p);

    if (r >= 0)
        *ret = p;
    return r;
}

void ledger_unmap(struct ledger *l)
{
    if (l)
        munmap(l, sizeof(*l));
}

void ledger_set_tracer(struct ledger *l, pid_t tracer)
{
    l->tracer = tracer;
}

pid_t ledger_get_tracer(const struct ledger *l)
{
    return l->tracer;
}

siginfo_t *ledger_wait_area(struct ledger *l)
{
    return &l->last_wait;
}

static int take_slot(struct ledger *l)
{
    int slot;

    if (l->first_free > 0) {
        slot = l->first_free - 1;
        l->first_free = l->slots[slot].next_free;
        return slot;
    }
    if (l->used == LEDGER_SLOTS)
        return -ENOSPC;
    return l->used++;
}

bool ledger_signal_stops(int signo)
{
    return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

static bool is_open_stop(const struct ledger_signal *s)
{
    return ledger_signal_stops(s->signo) && !s->undone;
}

int ledger_record_signal(struct ledger *l, pid_t pid, pid_t tid, const siginfo_t *info)
{
    int slot = take_slot(l);
    struct ledger_signal *s;

    if (slot < 0)
        return slot;
    s = &l->slots[slot].signal;
    s->pid = pid;
    s->signo = info->si_signo;
    s->info = *info;
    s->undone = false;
    s->put_off = false;
    if (is_open_stop(s))
        l->n_stops++;
    /* The tid makes the record valid, so it comes last, whatever the compiler thinks. */
    atomic_signal_fence(memory_order_release);
    s->tid = tid;
    return slot;
}

void ledger_update_signal(struct ledger *l, int slot, const siginfo_t *info)
{
    struct ledger_signal *s = &l->slots[slot].signal;
    pid_t tid = s->tid;

    s->tid = 0;
    atomic_signal_fence(memory_order_seq_cst);
    s->signo = info->si_signo;
    s->info = *info;
    atomic_signal_fence(memory_order_seq_cst);
    s->tid = tid;
}

void ledger_mark_put_off(struct ledger *l, int slot)
{
    l->slots[slot].signal.put_off = true;
}

void ledger_clear_signal(struct ledger *l, int slot)
{
    if (l->left)
        return;
    if (is_open_stop(&l->slots[slot].signal))
        l->n_stops--;
    l->slots[slot].signal.tid = 0;
    atomic_signal_fence(memory_order_release);
    l->slots[slot].next_free = l->first_free;
    l->first_free = slot + 1;
}

void ledger_void_stops(struct ledger *l, pid_t pid)
{
    for (int32_t i = 0; i < l->used && l->n_stops > 0; i++) {
        struct ledger_signal *s = &l->slots[i].signal;

        if (s->tid == 0 || s->pid != pid || !is_open_stop(s))
            continue;
        s->undone = true;
        l->n_stops--;
    }
}

int ledger_get_used(const struct ledger *l)
{
    /* The reader bounds what the writer says. */
    return l->used < 0 ? 0 : l->used > LEDGER_SLOTS ? LEDGER_SLOTS : l->used;
}

const struct ledger_signal *ledger_get_signal(const struct ledger *l, int slot)
{
    return &l->slots[slot].signal;
}

const siginfo_t *ledger_get_last_wait(const struct ledger *l)
{
    return &l->last_wait;
}

/* ---- Text ---------------------------------------------------------------------------------- */

static int take_text_slot(struct ledger *l)
{
    int slot;

    if (l->first_free_text > 0) {
        slot = l->first_free_text - 1;
        l->first_free_text = l->texts[slot].next_free;
        return slot;
    }
    return l->texts_used == LEDGER_TEXTS ? -ENOSPC : l->texts_used++;
}

int ledger_record_text(struct ledger *l, pid_t pid, uint64_t address, const uint8_t *original,
                       size_t size)
{
    int slot = take_text_slot(l);
    struct ledger_text *text;

    if (slot < 0)
        return slot;
    text = &l->texts[slot].text;
    text->address = address;
    text->size = (uint32_t)size;
    memcpy(text->original, original, size);
    text->through = 0;
    /* The pid makes the record valid. */
    atomic_signal_fence(memory_order_seq_cst);
    text->pid = pid;
    atomic_signal_fence(memory_order_seq_cst);
    return slot;
}

void ledger_update_text(struct ledger *l, int slot, const uint8_t *original, size_t size)
{
    memcpy(l->texts[slot].text.original, original, size);
}

void ledger_set_copy(struct ledger *l, int slot, pid_t tid, const struct insn_copy *copy)
{
    struct ledger_text *text = &l->texts[slot].text;

    text->copy = *copy;
    atomic_signal_fence(memory_order_seq_cst);
    text->through = tid;
    atomic_signal_fence(memory_order_seq_cst);
}

void ledger_clear_text(struct ledger *l, int slot)
{
    if (l->left)
        return;
    atomic_signal_fence(memory_order_seq_cst);
    l->texts[slot].text.pid = 0;
    atomic_signal_fence(memory_order_seq_cst);
    l->texts[slot].next_free = l->first_free_text;
    l->first_free_text = slot + 1;
}

int ledger_get_texts_used(const struct ledger *l)
{
    return l->texts_used < 0 ? 0 : l->texts_used > LEDGER_TEXTS ? LEDGER_TEXTS : l->texts_used;
}

const struct ledger_text *ledger_get_text(const struct ledger *l, int slot)
{
    return &l->texts[slot].text;
}

void ledger_settle_trap(struct ledger *l)
{
    l->last_wait.si_pid = 0;
    atomic_signal_fence(memory_order_seq_cst);
}

void ledger_leave(struct ledger *l)
{
    l->left = true;
}

/* ---- Processes ----------------------------------------------------------------------------- */

static struct ledger_process *find_process(struct ledger *l, pid_t pid)
{
    for (int32_t i = 0; i < l->processes_used; i++)
        if (l->processes[i].pid == pid)
            return &l->processes[i];
    return NULL;
}

/* NULL: there is no room. */
static struct ledger_process *get_process(struct ledger *l, pid_t pid)
{
    struct ledger_process *p = find_process(l, pid);

    if (!p)
        p = find_process(l, 0);
    if (!p && l->processes_used < LEDGER_PROCESSES)
        p = &l->processes[l->processes_used++];
    if (p)
        p->pid = pid;
    return p;
}

static void drop_if_plain(struct ledger_process *p)
{
    if (!p->debugged && !p->stopped)
        p->pid = 0;
}

int ledger_set_debugged(struct ledger *l, pid_t pid, bool debugged)
{
    struct ledger_process *p = debugged ? get_process(l, pid) : find_process(l, pid);

    if (!p)
        return debugged ? -ENOSPC : 0;
    p->debugged = debugged;
    drop_if_plain(p);
    atomic_signal_fence(memory_order_seq_cst);
    return 0;
}

void ledger_set_stopped(struct ledger *l, pid_t pid, bool stopped)
{
    struct ledger_process *p = stopped ? get_process(l, pid) : find_process(l, pid);

    if (!p)
        return;
    p->stopped = stopped;
    drop_if_plain(p);
}

void ledger_forget_process(struct ledger *l, pid_t pid)
{
    struct ledger_process *p = find_process(l, pid);

    if (p)
        *p = (struct ledger_process){0};
}

int ledger_get_processes_used(const struct ledger *l)
{
    return l->processes_used < 0                  ? 0
           : l->processes_used > LEDGER_PROCESSES ? LEDGER_PROCESSES
                                                  : l->processes_used;
}

const struct ledger_process *ledger_get_process(const struct ledger *l, int slot)
{
    return &l->processes[slot];
}

uint32_t *ledger_bell(struct ledger *l)
{
    return &l->bell;
}

siginfo_t *ledger_last_waits(struct ledger *l)
{
    return l->last_waits;
}
