/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/target.h"

static int read_pid(sd_bus_message *m, pid_t *ret)
{
    uint32_t pid;
    int r;

    r = sd_bus_message_read(m, "v", "u", &pid);
    if (r >= 0)
        *ret = (pid_t)pid;
    return r;
}

static int read_flag(sd_bus_message *m, bool *ret)
{
    int r, flag;

    r = sd_bus_message_read(m, "v", "b", &flag);
    if (r >= 0)
        *ret = flag;
    return r;
}

static int read_comm(sd_bus_message *m, char ret[static TARGET_COMM_MAX])
{
    const char *comm;
    int r;

    r = sd_bus_message_read(m, "v", "s", &comm);
    if (r >= 0)
        snprintf(ret, TARGET_COMM_MAX, "%s", comm);
    return r;
}

static int read_fact(sd_bus_message *m, const char *key, struct target *t)
{
    if (strcmp(key, "pid") == 0)
        return read_pid(m, &t->pid);
    if (strcmp(key, "tracer-pid") == 0)
        return read_pid(m, &t->tracer);
    if (strcmp(key, "comm") == 0)
        return read_comm(m, t->comm);
    if (strcmp(key, "tracer-comm") == 0)
        return read_comm(m, t->tracer_comm);
    if (strcmp(key, "kernel-thread") == 0)
        return read_flag(m, &t->kernel_thread);
    if (strcmp(key, "zombie") == 0)
        return read_flag(m, &t->zombie);
    if (strcmp(key, "own") == 0)
        return read_flag(m, &t->own);
    if (strcmp(key, "tracer-own") == 0)
        return read_flag(m, &t->tracer_own);
    return sd_bus_message_skip(m, "v");
}

int target_read(sd_bus_message *reply, struct target *ret)
{
    struct target t = {0};
    int r;

    r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        const char *key;

        r = sd_bus_message_read(reply, "s", &key);
        if (r >= 0)
            r = read_fact(reply, key, &t);
        if (r >= 0)
            r = sd_bus_message_exit_container(reply);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    if (t.pid <= 0)
        return -EBADMSG;
    *ret = t;
    return 0;
}

int target_check(const struct target *t, bool ours, sd_bus_error *error)
{
    if (t->kernel_thread)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "Process %d (%s) is a kernel thread; those cannot be traced",
                                 t->pid, t->comm);
    if (t->own)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                                 "Process %d (%s) belongs to ptraced, which does not trace itself",
                                 t->pid, t->comm);
    if (t->zombie)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                 "Process %d (%s) has ended and waits for its parent to notice",
                                 t->pid, t->comm);
    if (t->tracer && !ours && t->tracer_own)
        return sd_bus_error_setf(error, PTRACED_ERROR_TRACER_GONE,
                                 "The tracer that process %d (%s) had is just ending, and what it "
                                 "leaves is being put in order; attach again",
                                 t->pid, t->comm);
    if (t->tracer && !ours)
        return sd_bus_error_setf(error, PTRACED_ERROR_ALREADY_TRACED,
                                 "Process %d (%s) is traced by process %d (%s) already; detach it "
                                 "there first",
                                 t->pid, t->comm, t->tracer,
                                 *t->tracer_comm ? t->tracer_comm : "gone by now");
    return 0;
}
