/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <unistd.h>

#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus.h"
#include "daemon/broker/caller.h"

/* org.freedesktop.LogControl1: what is logged, and where, changed while the service runs. */

#define LOG_CONTROL_PATH "/org/freedesktop/LogControl1"
#define LOG_CONTROL_INTERFACE "org.freedesktop.LogControl1"

static int check_caller(struct broker *b, sd_bus_message *m, sd_bus_error *error)
{
    const struct caller *c = caller_of(b, m);

    if (c->uid == 0 || c->uid == geteuid())
        return 0;
    sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                      "User %u may not change what ptraced logs; only root may", c->uid);
    audit_call_refused(c, m, error->message);
    return -EACCES;
}

static int get_level(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct broker *b = userdata;

    return sd_bus_message_append(reply, "s", log_level_to_string(b->log.level));
}

static int set_level(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *value, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    const char *name;
    int r, level;

    r = check_caller(b, value, error);
    if (r >= 0)
        r = sd_bus_message_read(value, "s", &name);
    if (r < 0)
        return r;
    level = log_level_from_string(name);
    if (level < 0)
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                "LogLevel is one of emerg, alert, crit, err, warning, notice, info "
                                "and debug");
    b->log.level = level;
    return 0;
}

static int get_target(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct broker *b = userdata;

    return sd_bus_message_append(reply, "s", log_target_to_string(b->log.target));
}

static int set_target(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *value, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    enum log_target target;
    const char *name;
    int r;

    r = check_caller(b, value, error);
    if (r >= 0)
        r = sd_bus_message_read(value, "s", &name);
    if (r < 0)
        return r;
    target = log_target_from_string(name);
    if (target == _LOG_TARGET_INVALID)
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                "LogTarget is one of console, journal and null");
    b->log.target = target;
    return 0;
}

static int get_identifier(sd_bus *bus, const char *path, const char *interface,
                          const char *property, sd_bus_message *reply, void *userdata,
                          sd_bus_error *error)
{
    return sd_bus_message_append(reply, "s", LOG_IDENTIFIER);
}

static const sd_bus_vtable log_control_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_level, set_level, 0, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_target, set_target, 0,
                             SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("SyslogIdentifier", "s", get_identifier, 0, 0),
    SD_BUS_VTABLE_END,
};

int log_control_add(struct broker *b)
{
    return sd_bus_add_object_vtable(b->bus, NULL, LOG_CONTROL_PATH, LOG_CONTROL_INTERFACE,
                                    log_control_vtable, b);
}
