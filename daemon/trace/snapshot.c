/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/trace/control.h"
#include "daemon/trace/freeze.h"
#include "daemon/trace/image.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/snapshot.h"
#include "daemon/trace/trace.h"

/* Beside the threads that there are when it begins, so many more are provided for. */
#define BIRTHS_MAX(n) ((n) / 8 + 16)

struct taking {
    const struct snapshot_options *o;
    struct process *process;
    struct snapshot_thread *before; /* what is known of them before they stand */
    size_t n_before;
    size_t next; /* of those: where the next thread is likely to be found */
    struct snapshot_thread *threads;
    size_t n, n_allocated;
    int maps; /* /proc/PID/maps */
    int fd;
    char *map;
    size_t map_size, used;
};

#define N_MACHINES 3u

static const struct arch *const machines[N_MACHINES] = {&arch_x86_64, &arch_i386, &arch_aarch64};

bool snapshot_knows_set(const char *name)
{
    for (size_t i = 0; i < N_MACHINES; i++)
        if (arch_find_set(machines[i], name) >= 0)
            return true;
    return false;
}

static size_t round_up(size_t size)
{
    return (size + SNAPSHOT_ALIGNMENT - 1) / SNAPSHOT_ALIGNMENT * SNAPSHOT_ALIGNMENT;
}

static size_t max_size_of_set(const char *name)
{
    size_t size = 0;

    for (size_t i = 0; i < N_MACHINES; i++) {
        int set = arch_find_set(machines[i], name);

        if (set >= 0 && machines[i]->sets[set].size_max > size)
            size = machines[i]->sets[set].size_max;
    }
    return round_up(size);
}

/* What one thread takes in the file at the most. */
static size_t max_size_of_thread(const struct snapshot_options *o)
{
    size_t size = round_up(o->stack);

    for (size_t i = 0; i < o->n_sets; i++)
        size += max_size_of_set(o->sets[i]);
    return size;
}

/* ---- Before -------------------------------------------------------------------------------- */

static void note_name(struct snapshot_thread *thread)
{
    if (proc_read_comm(thread->tid, thread->comm) < 0)
        memset(thread->comm, 0, sizeof(thread->comm));
}

/* What would cost a system call for each while they stand, and tells more before: that a thread
 * slept, for instance. */
static int note_threads(struct taking *k, const struct attachment *a)
{
    const pid_t pid = k->process->pidref.pid;
    const struct tracee *tracee;

    k->n_allocated = a->n_engines + BIRTHS_MAX(a->n_engines);
    k->before = calloc(k->n_allocated, sizeof(*k->before));
    k->threads = calloc(k->n_allocated, sizeof(*k->threads));
    if (!k->before || !k->threads)
        return -ENOMEM;
    TAILQ_FOREACH(tracee, &k->process->tracees, siblings) {
        struct snapshot_thread *thread = &k->before[k->n_before];
        struct proc_stat stat;

        if (!engine_find(tracee, a))
            continue;
        k->n_before++;
        thread->tid = tracee->tid;
        thread->state = tracee_state_to_string(tracee);
        thread->kernel_state = proc_read_stat(pid, tracee->tid, &stat) < 0 ? '?' : stat.state;
        note_name(thread);
    }
    return 0;
}

/* Its pages are there and mapped before any thread stops: to allocate and clear them is what takes
 * the longest. What goes into the mapping is written by the kernel, which answers EFAULT where
 * memory has run out; a write of our own would be a SIGBUS. */
static int make_room(struct taking *k)
{
    const size_t each = max_size_of_thread(k->o);

    if (each > 0 && (k->o->size_max - k->o->head) / each < k->n_allocated) {
        k->n_allocated = (k->o->size_max - k->o->head) / each;
        if (k->n_allocated < k->n_before)
            return -EDQUOT;
    }
    k->used = k->o->head;
    k->map_size = k->o->head + k->n_allocated * each;
    k->fd = memory_new_memfd();
    if (k->fd < 0)
        return k->fd;
    if (ftruncate(k->fd, (off_t)k->map_size) < 0)
        return -errno;
    k->map = mmap(NULL, k->map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, k->fd, 0);
    if (k->map == MAP_FAILED) {
        k->map = NULL;
        return -errno;
    }
    return 0;
}

static int prepare(struct taking *k, const struct attachment *a)
{
    int r = note_threads(k, a);

    if (r >= 0)
        r = make_room(k);
    if (r >= 0)
        r = (int)memory_read(k->process, 0, NULL, 0); /* opens it */
    if (r >= 0)
        r = image_open(k->process, "maps", O_RDONLY, &k->maps);
    return r;
}

/* ---- While they stand ---------------------------------------------------------------------- */

/* Both lists are in the same order, but for those that went and those that came. */
static struct snapshot_thread *find_noted(struct taking *k, pid_t tid)
{
    for (size_t i = 0; i < k->n_before; i++) {
        struct snapshot_thread *thread = &k->before[(k->next + i) % k->n_before];

        if (thread->tid != tid)
            continue;
        k->next = (size_t)(thread - k->before) + 1;
        return thread;
    }
    return NULL;
}

static size_t room_left(const struct taking *k)
{
    return k->map_size - k->used;
}

static uint32_t take_set(struct taking *k, pid_t tid, const struct arch *arch, const char *name)
{
    int set = arch_find_set(arch, name);
    size_t size;

    if (set < 0)
        return 0;
    size = arch->sets[set].size_max;
    if (ptrace_ops_get_regset(tid, arch->sets[set].note, k->map + k->used, &size) < 0)
        return 0;
    k->used += round_up(size);
    return (uint32_t)size;
}

/* Above most stacks there is a guard page, and then another thread's stack. Where Linux does not
 * tell, what can be read is. */
static size_t stack_size(const struct taking *k, uint64_t address)
{
    uint64_t size;
    int r = image_readable_size(k->maps, address, k->o->stack, &size);

    if (r < 0)
        return r == -ENOENT ? 0 : k->o->stack;
    return (size_t)size;
}

static void take_stack(struct taking *k, struct snapshot_thread *thread)
{
    uint64_t address = thread->stack_pointer - thread->arch->red_zone;
    size_t size = stack_size(k, address);
    ssize_t n;

    if (size == 0) { /* the red zone reaches over the end of its memory */
        address = thread->stack_pointer;
        size = stack_size(k, address);
    }
    n = memory_read(k->process, address, k->map + k->used, size);
    if (n <= 0)
        return;
    thread->stack_address = address;
    thread->stack = k->used;
    thread->stack_size = (uint64_t)n;
    k->used += round_up((size_t)n);
}

/* The general registers tell which machine's they are, and where the stack is. */
static const struct arch *read_stack_pointer(pid_t tid, uint64_t *ret)
{
    _Alignas(SNAPSHOT_ALIGNMENT) char general[512];
    size_t size = sizeof(general);
    const struct arch *arch;

    if (ptrace_ops_get_regset(tid, arch_x86_64.sets[ARCH_GENERAL].note, general, &size) < 0)
        return NULL;
    arch = arch_by_general_size(size);
    if (arch)
        *ret = arch_get_role(arch, ARCH_SP, general);
    return arch;
}

static void take_standing(struct taking *k, const struct tracee *tracee,
                          struct snapshot_thread *thread)
{
    thread->stands = true;
    thread->held = engine_is_any_holding(tracee);
    thread->at_signal = control_get_siginfo(tracee, &thread->siginfo) >= 0;
    if (room_left(k) < max_size_of_thread(k->o)) {
        thread->has_no_room = true;
        return;
    }
    thread->arch = read_stack_pointer(tracee->tid, &thread->stack_pointer);
    if (!thread->arch)
        return;
    thread->registers = k->used;
    for (size_t i = 0; i < k->o->n_sets; i++)
        thread->set_sizes[i] = take_set(k, tracee->tid, thread->arch, k->o->sets[i]);
    if (k->o->stack > 0)
        take_stack(k, thread);
}

static void take_thread(struct taking *k, const struct tracee *tracee)
{
    const struct snapshot_thread *noted = find_noted(k, tracee->tid);
    struct snapshot_thread *thread = &k->threads[k->n++];

    if (noted)
        *thread = *noted;
    else
        *thread =
            (struct snapshot_thread){.tid = tracee->tid, .state = "running", .kernel_state = '?'};
    if (tracee->state == TRACEE_STOPPED)
        take_standing(k, tracee, thread);
}

/* More were born than were provided for. */
static int grow(struct taking *k, size_t n)
{
    struct snapshot_thread *grown;

    if (n <= k->n_allocated)
        return 0;
    grown = reallocarray(k->threads, n, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    k->threads = grown;
    k->n_allocated = n;
    return 0;
}

/* While they were being stopped the process may have ended, and its attachment with it. */
static int take_standing_process(struct taking *k, const struct attachment *a, struct batch *b)
{
    const struct tracee *tracee;
    int r;

    if (!a)
        return -ESRCH;
    r = grow(k, a->n_engines);
    if (r < 0)
        return r;
    TAILQ_FOREACH(tracee, &k->process->tracees, siblings) {
        if (!engine_find(tracee, a))
            continue;
        take_thread(k, tracee);
        batch_bound(b);
    }
    return 0;
}

/* ---- Afterwards ---------------------------------------------------------------------------- */

static void note_missing_names(struct snapshot *s)
{
    for (size_t i = 0; i < s->n_threads; i++)
        if (s->threads[i].comm[0] == '\0')
            note_name(&s->threads[i]);
}

static void unmap(struct taking *k)
{
    if (k->map)
        munmap(k->map, k->map_size);
    k->map = NULL;
}

static void taking_done(struct taking *k)
{
    unmap(k);
    if (k->fd >= 0)
        close(k->fd);
    if (k->maps >= 0)
        close(k->maps);
    free(k->before);
    free(k->threads);
}

static int take(struct taking *k, struct trace *t, struct session *s, pid_t pid,
                struct snapshot *ret)
{
    struct freeze freeze;
    int r;

    ret->began_usec = event_now_usec();
    freeze_begin(&freeze, t, k->process);
    ret->stood_usec = event_now_usec();
    r = take_standing_process(k, session_find(s, pid), &freeze.batch);
    freeze_end(&freeze);
    ret->ended_usec = event_now_usec();
    return r;
}

static int hand_over(struct taking *k, struct snapshot *ret)
{
    unmap(k);
    if (ftruncate(k->fd, (off_t)k->used) < 0)
        return -errno;
    ret->size = k->used;
    ret->fd = k->fd;
    ret->threads = k->threads;
    k->threads = NULL;
    ret->n_threads = k->n;
    k->fd = -1;
    note_missing_names(ret);
    return 0;
}

int snapshot_take(struct trace *t, struct session *s, pid_t pid, const struct snapshot_options *o,
                  struct snapshot *ret)
{
    struct attachment *a = session_find(s, pid);
    struct snapshot taken = SNAPSHOT_NULL;
    struct taking k = {.o = o, .maps = -1, .fd = -1};
    int r;

    if (!a)
        return -EUNATCH;
    k.process = a->process;
    r = prepare(&k, a);
    if (r >= 0)
        r = take(&k, t, s, pid, &taken);
    if (r >= 0)
        r = hand_over(&k, &taken);
    taking_done(&k);
    if (r >= 0)
        *ret = taken;
    return r;
}

void snapshot_done(struct snapshot *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->threads);
    *s = SNAPSHOT_NULL;
}
