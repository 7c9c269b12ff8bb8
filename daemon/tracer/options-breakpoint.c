/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/names.h"
#include "daemon/trace/regs.h"
#include "daemon/tracer/breakpoint-bus.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/options-read.h"
#include "daemon/tracer/tracer.h"

/* The options of AddBreakpoint. */

#define SIZES "1, 2, 4 or 8 (bytes)"

struct wanted {
    struct breakpoint_options o;
    const char *name; /* of the condition's register, as long as it may be */
    uint32_t tid;
    bool has_thread;
};

static bool is_size(uint32_t size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static bool is_watchpoint(enum breakpoint_kind kind)
{
    return kind == BREAKPOINT_WRITE || kind == BREAKPOINT_READ_WRITE;
}

static int read_size(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct wanted *w = ret;
    uint32_t size;
    int r = sd_bus_message_read(m, "u", &size);

    if (r < 0)
        return r;
    if (!is_size(size))
        return options_bad_number(error, key, size, SIZES);
    w->o.size = size;
    return 0;
}

static int read_thread(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct wanted *w = ret;

    w->has_thread = true;
    return sd_bus_message_read(m, "u", &w->tid);
}

static int read_temporary(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct wanted *w = ret;

    return options_read_bool(m, &w->o.temporary);
}

static int read_ignore(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct wanted *w = ret;

    return sd_bus_message_read(m, "t", &w->o.ignore);
}

static int read_report_only(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct wanted *w = ret;

    return options_read_bool(m, &w->o.report_only);
}

static int read_condition(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    struct wanted *w = ret;
    struct condition c = {.set = true};
    const char *name, *sign;
    uint32_t size;
    int operator,
        r = sd_bus_message_read(m, "(stust)", &name, &c.address, &size, &sign, &c.constant);

    if (r < 0)
        return r;
    operator= condition_operator_from_string(sign);
    if (operator<0)
        return options_bad_value(error, key, sign,
                                 "one of '==', '!=', '<', '<=', '>', '>=', '<s', '<=s', '>s', "
                                 "'>=s' and '&' that compares");
    if (!*name && !is_size(size))
        return options_bad_number(error, key, size, "a piece of memory of " SIZES " to compare");
    c.operator=(uint8_t) operator;
    c.size = *name ? 0 : (uint8_t)size;
    w->o.condition = c;
    w->name = name; /* valid as long as the message */
    return 0;
}

static int check_size(const struct breakpoint_options *o, sd_bus_error *error)
{
    const char *kind = breakpoint_kind_to_string(o->kind);

    if (is_watchpoint(o->kind) && o->size == 0)
        return sd_bus_error_setf(
            error, PTRACED_ERROR_INVALID_OPTION,
            "A breakpoint of kind '%s' needs the option '" PTRACED_OPTION_SIZE "': " SIZES, kind);
    if (!is_watchpoint(o->kind) && o->size != 0)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Option '" PTRACED_OPTION_SIZE "' is for the kinds 'write' and "
                                 "'read-write'; one of kind '%s' is at an instruction",
                                 kind);
    return 0;
}

static int find_thread(const struct process_object *o, struct wanted *w, sd_bus_error *error)
{
    const struct tracee *tracee =
        w->tid <= INT_MAX ? tidmap_get(&o->tracer->trace->tids, (pid_t)w->tid) : NULL;

    if (!tracee || !engine_find(tracee, o->attachment))
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD,
                                 "Session %s traces no thread %u of process %d, which option "
                                 "'" PTRACED_OPTION_THREAD "' names",
                                 o->session->id, w->tid, o->attachment->process->pidref.pid);
    w->o.tid = tracee->tid;
    return 0;
}

/* condition_holds() lets through what it cannot read, so it is asked for here, where somebody can
 * be told. */
static int find_register(const struct process_object *o, struct wanted *w, sd_bus_error *error)
{
    const pid_t pid = o->attachment->process->pidref.pid;
    const struct arch_register *found;
    const struct arch *arch = NULL;
    int r = arch_of_process(pid, &arch);

    if (r >= 0 && !arch)
        r = -EOPNOTSUPP;
    if (r < 0)
        return explain_breakpoint(error, r, &w->o, pid, 0);
    found = arch_find_register(arch, w->name);
    if (!found || strlen(w->name) > CONDITION_REGISTER_MAX)
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Option '" PTRACED_OPTION_CONDITION "' names a register '%s', "
                                 "which there is not on %s",
                                 w->name, arch->name);
    if (found->size > sizeof(uint64_t))
        return sd_bus_error_setf(error, PTRACED_ERROR_INVALID_OPTION,
                                 "Option '" PTRACED_OPTION_CONDITION "' names the register '%s', "
                                 "which has %u bytes; no more than 8 can be compared",
                                 w->name, found->size);
    snprintf(w->o.condition.name, sizeof(w->o.condition.name), "%s", found->name);
    return 0;
}

int options_read_breakpoint(sd_bus_message *m, const struct process_object *o,
                            struct breakpoint_options *ret, sd_bus_error *error)
{
    static const struct option table[] = {
        {PTRACED_OPTION_SIZE, "u", read_size},
        {PTRACED_OPTION_THREAD, "u", read_thread},
        {PTRACED_OPTION_TEMPORARY, "b", read_temporary},
        {PTRACED_OPTION_IGNORE, "t", read_ignore},
        {PTRACED_OPTION_REPORT_ONLY, "b", read_report_only},
        {PTRACED_OPTION_CONDITION, "(stust)", read_condition},
        {NULL, NULL, NULL},
    };
    struct wanted w = {.o = *ret};
    int r = options_read_table(m, table, &w, error);

    if (r >= 0)
        r = check_size(&w.o, error);
    if (r >= 0 && w.has_thread)
        r = find_thread(o, &w, error);
    if (r >= 0 && w.name && *w.name)
        r = find_register(o, &w, error);
    if (r < 0)
        return r;
    *ret = w.o;
    return 0;
}
