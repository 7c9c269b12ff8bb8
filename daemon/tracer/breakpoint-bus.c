/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/trace/breakpoint.h"
#include "daemon/tracer/breakpoint-bus.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/tracer.h"

/* Process.AddBreakpoint(), RemoveBreakpoint() and ListBreakpoints(). */

static int find(sd_bus_message *m, void *userdata, struct process_object *ret, sd_bus_error *error)
{
    return objects_find_process(userdata, sd_bus_message_get_path(m), ret, error);
}

static pid_t pid_of(const struct process_object *o)
{
    return o->attachment->process->pidref.pid;
}

static int read_kind(const char *name, enum breakpoint_kind *ret, sd_bus_error *error)
{
    int kind = breakpoint_kind_from_string(name);

    if (kind < 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "There is no kind \"%s\" of breakpoints; there are \"software\", "
                                 "\"hardware\", \"write\" and \"read-write\"",
                                 name);
    *ret = (enum breakpoint_kind)kind;
    return 0;
}

static int read_request(sd_bus_message *m, const struct process_object *o,
                        struct breakpoint_options *ret, sd_bus_error *error)
{
    struct breakpoint_options options = {0};
    const char *kind;
    int r = sd_bus_message_read(m, "ts", &options.address, &kind);

    if (r >= 0)
        r = read_kind(kind, &options.kind, error);
    if (r >= 0)
        r = options_read_breakpoint(m, o, &options, error);
    if (r >= 0)
        *ret = options;
    return r;
}

int breakpoint_method_add(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct breakpoint_options options;
    struct process_object o = {0};
    uint32_t id;
    const struct quota_user *quota;
    pid_t pid;
    int r = find(m, userdata, &o, error);

    if (r >= 0)
        r = read_request(m, &o, &options, error);
    if (r < 0)
        return r;
    pid = pid_of(&o); /* it may be gone afterwards */
    quota = o.attachment->session->quota;
    r = breakpoint_add(o.tracer->trace, o.attachment, &options, &id);
    if (r < 0)
        return explain_breakpoint(error, r, &options, pid, quota);
    return sd_bus_reply_method_return(m, "u", id);
}

int breakpoint_method_remove(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    uint32_t id;
    int r = find(m, userdata, &o, error);

    if (r >= 0)
        r = sd_bus_message_read(m, "u", &id);
    if (r < 0)
        return r;
    r = breakpoint_remove(o.tracer->trace, o.attachment, id);
    if (r == -ENOENT)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_BREAKPOINT,
                                 "Session %s has no breakpoint %u in process %d: it was removed, "
                                 "was temporary and was hit, or was forgotten in an exec",
                                 o.session->id, id, pid_of(&o));
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

/* ---- The list ------------------------------------------------------------------------------ */

static int append_u(sd_bus_message *m, const char *key, uint32_t value)
{
    return value == 0 ? 0 : sd_bus_message_append(m, "{sv}", key, "u", value);
}

static int append_b(sd_bus_message *m, const char *key, bool value)
{
    return value ? sd_bus_message_append(m, "{sv}", key, "b", value) : 0;
}

static int append_condition(sd_bus_message *m, const struct condition *c)
{
    if (!c->set)
        return 0;
    return sd_bus_message_append(m, "{sv}", PTRACED_OPTION_CONDITION, "(stust)", c->name,
                                 c->address, (uint32_t)c->size,
                                 condition_operator_to_string(c->operator), c->constant);
}

/* Options as they were given, those alone that were. */
static int append_options(sd_bus_message *m, const struct breakpoint_options *o)
{
    int r = append_u(m, PTRACED_OPTION_SIZE, o->size);

    if (r >= 0)
        r = append_u(m, PTRACED_OPTION_THREAD, (uint32_t)o->tid);
    if (r >= 0)
        r = append_b(m, PTRACED_OPTION_TEMPORARY, o->temporary);
    if (r >= 0 && o->ignore > 0)
        r = sd_bus_message_append(m, "{sv}", PTRACED_OPTION_IGNORE, "t", o->ignore);
    if (r >= 0)
        r = append_b(m, PTRACED_OPTION_REPORT_ONLY, o->report_only);
    return r < 0 ? r : append_condition(m, &o->condition);
}

static int append_breakpoint(sd_bus_message *m, const struct breakpoint *b)
{
    int r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sv}");

    if (r >= 0)
        r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}", "id", "u", b->id, "address", "t",
                                  b->o.address, "kind", "s", breakpoint_kind_to_string(b->o.kind),
                                  "hits", "t", b->hits);
    if (r >= 0)
        r = append_options(m, &b->o);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int breakpoint_method_list(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    const struct breakpoint *b;
    struct process_object o = {0};
    int r = find(m, userdata, &o, error);

    if (r >= 0)
        r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
    if (r < 0)
        return r;
    TAILQ_FOREACH(b, &o.attachment->breakpoints, breakpoints) {
        r = append_breakpoint(reply, b);
        if (r < 0)
            return r;
    }
    r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_message_send(reply);
}
