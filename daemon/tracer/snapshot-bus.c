/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/snapshot.h"
#include "daemon/trace/snapshot.h"
#include "daemon/tracer/memory-bus.h"
#include "daemon/tracer/options-read.h"
#include "daemon/tracer/tracer.h"

/* Process.Snapshot(): what the core has taken, with the head and the table of bus-api/snapshot.h.
 */

#define _cleanup_snapshot_ _cleanup_(snapshot_done)

_Static_assert(PTRACED_SNAPSHOT_ALIGNMENT == SNAPSHOT_ALIGNMENT, "the core aligns");
_Static_assert(ARCH_SETS_MAX <= PTRACED_SNAPSHOT_SETS, "sets that a machine has fit");
_Static_assert(sizeof(struct ptraced_snapshot_header) % SNAPSHOT_ALIGNMENT == 0, "data is aligned");
_Static_assert(sizeof(siginfo_t) == sizeof(((struct ptraced_snapshot_thread *)0)->siginfo),
               "it fits");

/* ---- Options ------------------------------------------------------------------------------- */

static bool is_named(const struct snapshot_options *o, const char *name)
{
    for (size_t i = 0; i < o->n_sets; i++)
        if (strcmp(o->sets[i], name) == 0)
            return true;
    return false;
}

static int add_set(struct snapshot_options *o, const char *key, const char *name,
                   sd_bus_error *error)
{
    if (!snapshot_knows_set(name) || is_named(o, name) || o->n_sets == ELEMENTSOF(o->sets))
        return options_bad_value(error, key, name,
                                 "a list of register sets, each once: 'general', 'fp', 'xstate', "
                                 "..., no more than a machine has");
    o->sets[o->n_sets++] = name; /* valid as long as the message */
    return 0;
}

static int read_registers(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct snapshot_options *o = ret;
    const char *name;
    int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "s");

    o->n_sets = 0;
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "s", &name)) > 0) {
        r = add_set(o, key, name, error);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_stack(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct snapshot_options *o = ret;
    uint32_t size;
    int r = sd_bus_message_read(m, "u", &size);

    if (r < 0)
        return r;
    if (size > PTRACED_SNAPSHOT_STACK_MAX)
        return memory_explain_limit(error, "Snapshot", "SnapshotStackMax",
                                    PTRACED_SNAPSHOT_STACK_MAX, "bytes of each stack",
                                    "ReadMemoryRanges reads the rest of one");
    o->stack = size;
    return 0;
}

static int read_options(sd_bus_message *m, struct snapshot_options *o, sd_bus_error *error)
{
    static const struct option table[] = {
        {PTRACED_OPTION_REGISTERS, "as", read_registers},
        {PTRACED_OPTION_STACK, "u", read_stack},
        {NULL, NULL, NULL},
    };

    *o = (struct snapshot_options){
        .sets = {"general"},
        .n_sets = 1,
        .stack = PTRACED_SNAPSHOT_STACK,
        .head = sizeof(struct ptraced_snapshot_header),
        .size_max = PTRACED_SNAPSHOT_MAX,
    };
    return options_read_table(m, table, o, error);
}

/* ---- The record ---------------------------------------------------------------------------- */

static uint32_t flags_of(const struct snapshot_thread *thread)
{
    uint32_t flags = 0;

    if (!thread->stands)
        flags |= PTRACED_SNAPSHOT_RUNNING;
    if (thread->held)
        flags |= PTRACED_SNAPSHOT_HELD;
    if (thread->at_signal)
        flags |= PTRACED_SNAPSHOT_SIGNAL;
    if (thread->has_no_room)
        flags |= PTRACED_SNAPSHOT_NO_ROOM;
    return flags;
}

/* Padded with zeros, not terminated where it is that long. */
static void put_text(char *field, size_t size, const char *text)
{
    memcpy(field, text, strnlen(text, size));
}

static void encode_thread(const struct snapshot_thread *thread, struct ptraced_snapshot_thread *ret)
{
    *ret = (struct ptraced_snapshot_thread){
        .tid = (uint32_t)thread->tid,
        .flags = flags_of(thread),
        .kernel_state = (uint8_t)thread->kernel_state,
        .registers_offset = thread->registers,
        .stack_pointer = thread->stack_pointer,
        .stack_address = thread->stack_address,
        .stack_offset = thread->stack,
        .stack_size = thread->stack_size,
    };
    memcpy(ret->set_sizes, thread->set_sizes, sizeof(thread->set_sizes));
    put_text(ret->comm, sizeof(ret->comm), thread->comm);
    put_text(ret->state, sizeof(ret->state), thread->state);
    if (thread->arch)
        put_text(ret->architecture, sizeof(ret->architecture), thread->arch->name);
    if (thread->at_signal)
        memcpy(ret->siginfo, &thread->siginfo, sizeof(ret->siginfo));
}

static int write_all(int fd, const void *bytes, size_t size, uint64_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pwrite(fd, (const char *)bytes + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

static int write_threads(const struct snapshot *s, uint64_t offset)
{
    const size_t size = s->n_threads * sizeof(struct ptraced_snapshot_thread);
    _cleanup_free_string_ struct ptraced_snapshot_thread *table = malloc(size + 1);

    if (!table)
        return -ENOMEM;
    for (size_t i = 0; i < s->n_threads; i++)
        encode_thread(&s->threads[i], &table[i]);
    return write_all(s->fd, table, size, offset);
}

static int write_header(const struct snapshot *s, const struct snapshot_options *o, pid_t pid)
{
    struct ptraced_snapshot_header h = {
        .version = PTRACED_SNAPSHOT_VERSION,
        .header_size = sizeof(h),
        .thread_size = sizeof(struct ptraced_snapshot_thread),
        .n_threads = (uint32_t)s->n_threads,
        .threads_offset = s->size,
        .size = s->size + s->n_threads * sizeof(struct ptraced_snapshot_thread),
        .pid = (uint32_t)pid,
        .n_sets = (uint32_t)o->n_sets,
        .stack_size = (uint32_t)o->stack,
        .began_usec = s->began_usec,
        .stood_usec = s->stood_usec,
        .ended_usec = s->ended_usec,
    };

    memcpy(h.magic, PTRACED_SNAPSHOT_MAGIC, sizeof(h.magic));
    for (size_t i = 0; i < o->n_sets; i++)
        put_text(h.sets[i], sizeof(h.sets[i]), o->sets[i]);
    return write_all(s->fd, &h, sizeof(h), 0);
}

static int finish(const struct snapshot *s, const struct snapshot_options *o, pid_t pid)
{
    int r = write_threads(s, s->size);

    if (r >= 0)
        r = write_header(s, o, pid);
    if (r < 0)
        return r;
    if (fcntl(s->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return 0;
}

int snapshot_method_take(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_snapshot_ struct snapshot snapshot = SNAPSHOT_NULL;
    struct process_object o = {0};
    struct snapshot_options options;
    pid_t pid;
    int r = objects_find_process(userdata, sd_bus_message_get_path(m), &o, error);

    if (r >= 0)
        r = read_options(m, &options, error);
    if (r < 0)
        return r;
    pid = o.attachment->process->pidref.pid;
    r = snapshot_take(o.tracer->trace, o.session->core, pid, &options, &snapshot);
    if (r == -EDQUOT)
        return memory_explain_limit(error, "Snapshot", "SnapshotMax", PTRACED_SNAPSHOT_MAX,
                                    "bytes, all threads together", "take less of each stack");
    if (r >= 0)
        r = finish(&snapshot, &options, pid);
    if (r < 0)
        return memory_explain(error, r, pid, "take a snapshot");
    return memory_reply_fd(m, TAKE_FD(snapshot.fd));
}
