/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

static void keep_error(ptraced *p, char *name, char *message)
{
    free(p->error_name);
    free(p->error_message);
    p->error_name = name;
    p->error_message = message;
}

int connection_fail(ptraced *p, int error, const char *format, ...)
{
    char *message;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    va_end(ap);
    keep_error(p, NULL, message);
    return error;
}

/* The daemon's own words name its rules by number, and are of no use to who is refused. */
static const char *message_of(const sd_bus_error *error)
{
    static const char rejected[] = "Rejected send message";

    if (sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED) && error->message &&
        strncmp(error->message, rejected, strlen(rejected)) == 0)
        return "The policy of the bus does not let you call the service";
    return error->message;
}

int connection_fail_bus(ptraced *p, const sd_bus_error *error)
{
    const char *message = message_of(error);
    int r = -sd_bus_error_get_errno(error);

    /* The copies come first: the error may be what is kept. */
    keep_error(p, error->name ? strdup(error->name) : NULL, message ? strdup(message) : NULL);
    return r < 0 ? r : -EIO;
}

static int fail_lost(ptraced *p)
{
    return connection_fail(p, -ECONNRESET, "The connection to the tracing service has ended.");
}

_public_ void ptraced_get_error(ptraced *p, const char **ret_name, const char **ret_message)
{
    if (ret_name)
        *ret_name = p ? p->error_name : NULL;
    if (ret_message)
        *ret_message = p ? p->error_message : NULL;
}

int connection_check(ptraced *p)
{
    /* Nothing is kept: the message belongs to the parent's copy as much as to this one. */
    return p->origin == getpid() ? 0 : -ECHILD;
}

int connection_new_call(ptraced *p, const char *path, const char *interface, const char *member,
                        sd_bus_message **ret)
{
    int r;

    r = connection_check(p);
    if (r < 0)
        return r;
    if (p->is_lost)
        return fail_lost(p);
    r = sd_bus_message_new_method_call(p->bus, ret, p->on_bus ? PTRACED_BUS_NAME : NULL, path,
                                       interface, member);
    if (r < 0)
        return connection_fail(p, r, "Failed to make a request: %s", strerror(-r));
    return 0;
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    sd_bus_message **ret = userdata;

    *ret = sd_bus_message_ref(reply);
    return 1;
}

/* Not sd_bus_call(): that sets aside what else arrives, which has a limit and is gone when the
 * connection ends. Here the events that precede an answer are in their sessions' lists with it. */
static int send_within(ptraced *p, sd_bus_message *m, uint64_t timeout_usec,
                       sd_bus_message **ret_reply)
{
    _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_call_async(p->bus, &slot, m, on_reply, &reply, timeout_usec);
    if (r < 0)
        return connection_fail(p, r, "Failed to send a request: %s", strerror(-r));

    while (!reply) {
        r = connection_dispatch(p);
        if (r == 0)
            r = connection_wait(p, USEC_INFINITY);
        if (r == -ECONNRESET)
            return fail_lost(p);
        if (r < 0 && r != -EINTR)
            return connection_fail(p, r, "Failed to wait for an answer: %s", strerror(-r));
    }

    if (sd_bus_message_is_method_error(reply, NULL)) {
        /* A connection that ends answers what is under way with an error of its own. */
        if (sd_bus_is_open(p->bus) <= 0)
            return fail_lost(p);
        return connection_fail_bus(p, sd_bus_message_get_error(reply));
    }
    connection_learn_owner(p, reply);
    if (ret_reply)
        *ret_reply = TAKE_PTR(reply);
    return 0;
}

int connection_send(ptraced *p, sd_bus_message *m, sd_bus_message **ret_reply)
{
    return send_within(p, m, 0, ret_reply);
}

int connection_send_asking(ptraced *p, sd_bus_message *m, sd_bus_message **ret_reply)
{
    int r;

    if (!p->interactive)
        return connection_send(p, m, ret_reply);
    r = sd_bus_message_set_allow_interactive_authorization(m, true);
    if (r < 0)
        return connection_fail(p, r, "Failed to make a request: %s", strerror(-r));
    return send_within(p, m, USEC_INFINITY, ret_reply);
}

int connection_call(ptraced *p, const char *path, const char *interface, const char *member,
                    sd_bus_message **ret_reply, const char *types, ...)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    va_list ap;
    int r;

    r = connection_new_call(p, path, interface, member, &m);
    if (r < 0)
        return r;
    va_start(ap, types);
    r = sd_bus_message_appendv(m, types, ap);
    va_end(ap);
    if (r < 0)
        return connection_fail(p, r, "%s cannot be asked with these arguments: %s", member,
                               strerror(-r));
    return connection_send(p, m, ret_reply);
}

int connection_get_property(ptraced *p, const char *path, const char *interface, const char *name,
                            const char *type, sd_bus_message **ret_reply)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = connection_call(p, path, "org.freedesktop.DBus.Properties", "Get", &reply, "ss", interface,
                        name);
    if (r < 0)
        return r;
    r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_VARIANT, type);
    if (r < 0)
        return connection_fail(p, r, "The property %s has an unexpected type.", name);
    *ret_reply = TAKE_PTR(reply);
    return 0;
}
