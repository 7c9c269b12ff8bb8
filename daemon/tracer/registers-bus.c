/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/trace/regs.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/registers-bus.h"
#include "daemon/tracer/tracer.h"

/* Registers of a thread that the session holds stopped. On the bus a register of up to eight bytes
 * is a number (t), and a wider one its bytes as in memory (ay). */

/* What a call works on. */
struct target {
    pid_t pid;
    pid_t tid;
    struct regs regs;
};

static void target_done(struct target *t)
{
    regs_done(&t->regs);
}

#define _cleanup_target_ _cleanup_(target_done)

static bool is_number(const struct arch_register *reg)
{
    return reg->size <= sizeof(uint64_t);
}

static const char *type_of(const struct arch_register *reg)
{
    return is_number(reg) ? "t" : "ay";
}

static bool is_held(const struct process_object *o, const struct tracee *tracee)
{
    return tracee->state == TRACEE_STOPPED && engine_find(tracee, o->attachment)->held;
}

/* Of a thread that stands as far as the tracer knows: no stop holds who was killed. */
static int explain_fetch(const struct target *t, int failure, sd_bus_error *error)
{
    if (failure == -ESRCH)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD,
                                 "Thread %d of process %d was killed while it stood", t->tid,
                                 t->pid);
    if (failure == -EOPNOTSUPP)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "Thread %d of process %d runs code for a machine whose registers "
                                 "ptraced does not know",
                                 t->tid, t->pid);
    return sd_bus_error_set_errnof(error, failure,
                                   "Could not reach the registers of thread %d of process %d: %s",
                                   t->tid, t->pid, strerror(-failure));
}

static int open_target(sd_bus_message *m, void *userdata, struct target *ret, sd_bus_error *error)
{
    struct process_object o = {0};
    struct tracee *tracee;
    int r = objects_find_thread(userdata, sd_bus_message_get_path(m), &o, &tracee, error);

    if (r < 0)
        return r;
    ret->pid = o.attachment->process->pidref.pid;
    ret->tid = tracee->tid;
    if (!is_held(&o, tracee))
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_STOPPED,
                                 "Thread %d of process %d is running; Interrupt it first", ret->tid,
                                 ret->pid);
    r = regs_open(ret->tid, &o.tracer->trace->xsave, &ret->regs);
    return r < 0 ? explain_fetch(ret, r, error) : 0;
}

/* ---- GetRegisters -------------------------------------------------------------------------- */

static int append_value(sd_bus_message *reply, const struct arch_register *reg,
                        const uint8_t *bytes)
{
    uint64_t number = 0;

    if (!is_number(reg))
        return sd_bus_message_append_array(reply, 'y', bytes, reg->size);
    memcpy(&number, bytes, reg->size);
    return sd_bus_message_append(reply, "t", number);
}

static int append_register(sd_bus_message *reply, const struct arch_register *reg,
                           const uint8_t *bytes)
{
    int r = sd_bus_message_open_container(reply, SD_BUS_TYPE_DICT_ENTRY, "sv");

    if (r >= 0)
        r = sd_bus_message_append(reply, "s", reg->name);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_VARIANT, type_of(reg));
    if (r >= 0)
        r = append_value(reply, reg, bytes);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r;
}

/* Those that this machine lacks are left out. */
static int append_registers(sd_bus_message *reply, struct target *t, sd_bus_error *error)
{
    const struct arch *a = t->regs.arch;

    for (size_t i = 0; i < a->n_registers; i++) {
        uint8_t bytes[ARCH_REGISTER_SIZE_MAX];
        int r = regs_get_register(&t->regs, &a->registers[i], bytes, a->registers[i].size);

        if (r == -EOPNOTSUPP)
            continue;
        if (r < 0)
            return explain_fetch(t, r, error);
        r = append_register(reply, &a->registers[i], bytes);
        if (r < 0)
            return r;
    }
    return 0;
}

int registers_method_get(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    _cleanup_target_ struct target t = {0};
    int r = open_target(m, userdata, &t, error);

    if (r >= 0)
        r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r >= 0)
        r = append_registers(reply, &t, error);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* ---- SetRegisters -------------------------------------------------------------------------- */

static int read_number(sd_bus_message *m, const struct arch_register *reg, uint8_t *ret,
                       sd_bus_error *error)
{
    uint64_t number;
    int r = sd_bus_message_read(m, "t", &number);

    if (r < 0)
        return r;
    if (reg->size < sizeof(number) && number >> (8 * reg->size))
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Register '%s' has %u bytes; 0x%" PRIx64 " does not fit",
                                 reg->name, reg->size, number);
    memcpy(ret, &number, reg->size);
    return 0;
}

static int read_bytes(sd_bus_message *m, const struct arch_register *reg, uint8_t *ret,
                      sd_bus_error *error)
{
    const void *bytes;
    size_t size;
    int r = sd_bus_message_read_array(m, 'y', &bytes, &size);

    if (r < 0)
        return r;
    if (size != reg->size)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Register '%s' has %u bytes, not %zu", reg->name, reg->size, size);
    memcpy(ret, bytes, size);
    return 0;
}

static int read_value(sd_bus_message *m, const struct arch_register *reg, uint8_t *ret,
                      sd_bus_error *error)
{
    const char *contents;
    char type;
    int r = sd_bus_message_peek_type(m, &type, &contents);

    if (r < 0)
        return r;
    if (strcmp(contents, type_of(reg)) != 0)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Register '%s' has type '%s'; it takes '%s'", reg->name, contents,
                                 type_of(reg));
    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, contents);
    if (r >= 0)
        r = is_number(reg) ? read_number(m, reg, ret, error) : read_bytes(m, reg, ret, error);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int explain_put(const struct target *t, const struct arch_register *reg, int failure,
                       sd_bus_error *error)
{
    if (failure == -EPERM)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Register '%s' cannot be written", reg->name);
    if (failure == -EOPNOTSUPP)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "This machine has no register '%s'", reg->name);
    return explain_fetch(t, failure, error);
}

static int read_register(sd_bus_message *m, struct target *t, sd_bus_error *error)
{
    uint8_t value[ARCH_REGISTER_SIZE_MAX];
    const struct arch_register *reg;
    const char *name;
    int r = sd_bus_message_read(m, "s", &name);

    if (r < 0)
        return r;
    reg = arch_find_register(t->regs.arch, name);
    if (!reg)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Thread %d of process %d (%s) has no register '%s'; GetRegisters "
                                 "lists those that it has",
                                 t->tid, t->pid, t->regs.arch->name, name);
    r = read_value(m, reg, value, error);
    if (r < 0)
        return r;
    r = regs_put_register(&t->regs, reg, value, reg->size);
    return r < 0 ? explain_put(t, reg, r, error) : 0;
}

static int read_registers(sd_bus_message *m, struct target *t, sd_bus_error *error)
{
    int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");

    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        r = read_register(m, t, error);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int hand_over(struct target *t, sd_bus_error *error)
{
    size_t set = 0;
    int r = regs_write(&t->regs, &set);

    if (r == -EINVAL || r == -EIO)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "The kernel refuses a value for the '%s' registers of thread %d "
                                 "of process %d: %s; nothing was changed",
                                 t->regs.arch->sets[set].name, t->tid, t->pid,
                                 set == ARCH_GENERAL
                                     ? "a segment selector, a segment base or the flags"
                                     : "a control register, or the header of the set");
    return r < 0 ? explain_fetch(t, r, error) : 0;
}

int registers_method_set(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_target_ struct target t = {0};
    int r = open_target(m, userdata, &t, error);

    if (r >= 0)
        r = read_registers(m, &t, error);
    if (r >= 0)
        r = hand_over(&t, error);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

/* ---- whole sets ---------------------------------------------------------------------------- */

static int explain_set(const struct target *t, const char *name, int failure, sd_bus_error *error)
{
    if (failure == -EOPNOTSUPP)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "This machine has no register set '%s'", name);
    return explain_fetch(t, failure, error);
}

/* The names of all sets, for an error. */
static void list_sets(const struct arch *a, char *ret, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n_sets && n < size; i++)
        n += (size_t)snprintf(ret + n, size - n, "%s'%s'", i == 0 ? "" : ", ", a->sets[i].name);
}

static int read_set_name(sd_bus_message *m, struct target *t, const char **ret, size_t *ret_set,
                         sd_bus_error *error)
{
    char names[128];
    const char *name;
    int set, r = sd_bus_message_read(m, "s", &name);

    if (r < 0)
        return r;
    set = arch_find_set(t->regs.arch, name);
    if (set < 0) {
        list_sets(t->regs.arch, names, sizeof(names));
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "There is no register set '%s' on %s; there are %s", name,
                                 t->regs.arch->name, names);
    }
    *ret = name;
    *ret_set = (size_t)set;
    return 0;
}

int registers_method_get_set(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    _cleanup_target_ struct target t = {0};
    const void *bytes;
    const char *name;
    size_t set, size;
    int r = open_target(m, userdata, &t, error);

    if (r >= 0)
        r = read_set_name(m, &t, &name, &set, error);
    if (r < 0)
        return r;
    r = regs_get_set(&t.regs, set, &bytes, &size);
    if (r < 0)
        return explain_set(&t, name, r, error);
    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_append_array(reply, 'y', bytes, size);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

int registers_method_set_set(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_target_ struct target t = {0};
    const void *bytes, *now;
    size_t set, size, size_now;
    const char *name;
    int r = open_target(m, userdata, &t, error);

    if (r >= 0)
        r = read_set_name(m, &t, &name, &set, error);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &bytes, &size);
    if (r < 0)
        return r;
    r = regs_get_set(&t.regs, set, &now, &size_now);
    if (r < 0)
        return explain_set(&t, name, r, error);
    if (size != size_now)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "Register set '%s' of thread %d has %zu bytes, not %zu", name,
                                 t.tid, size_now, size);
    r = regs_put_set(&t.regs, set, bytes, size);
    if (r >= 0)
        r = hand_over(&t, error);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

/* ---- properties ---------------------------------------------------------------------------- */

/* 0 where there is none to be told: a property that failed would make GetAll fail with it. */
static int append_role(sd_bus_message *reply, const char *path, void *userdata, enum arch_role role,
                       sd_bus_error *error)
{
    struct process_object o = {0};
    struct tracee *tracee;
    uint64_t value = 0;
    int r = objects_find_thread(userdata, path, &o, &tracee, error);

    if (r < 0)
        return r;
    if (is_held(&o, tracee))
        (void)regs_read_role(tracee->tid, role, &value);
    return sd_bus_message_append(reply, "t", value);
}

int registers_property_program_counter(sd_bus *bus, const char *path, const char *interface,
                                       const char *property, sd_bus_message *reply, void *userdata,
                                       sd_bus_error *error)
{
    return append_role(reply, path, userdata, ARCH_PC, error);
}

int registers_property_stack_pointer(sd_bus *bus, const char *path, const char *interface,
                                     const char *property, sd_bus_message *reply, void *userdata,
                                     sd_bus_error *error)
{
    return append_role(reply, path, userdata, ARCH_SP, error);
}
