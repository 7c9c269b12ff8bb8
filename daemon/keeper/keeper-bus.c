/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/escape.h"
#include "bus-api/internal.h"
#include "bus-api/macro.h"
#include "daemon/keeper/keeper.h"
#include "daemon/keeper/log.h"

/* One message carries at most this many tracers: the kernel passes 253 descriptors at a time
 * (SCM_MAX_FD). */
#define LIST_TRACERS_MAX 128u

static int append_string(sd_bus_message *m, const char *key, const char *raw)
{
    _cleanup_free_string_ char *escaped = ptraced_escape(raw, strlen(raw));

    if (!escaped)
        return -ENOMEM;
    return sd_bus_message_append(m, "{sv}", key, "s", escaped);
}

/* As it is, for who compares. */
static int append_bytes(sd_bus_message *m, const char *key, const char *raw)
{
    int r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv");

    if (r >= 0)
        r = sd_bus_message_append(m, "s", key);
    if (r >= 0)
        r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, "ay");
    if (r >= 0)
        r = sd_bus_message_append_array(m, 'y', raw, strlen(raw));
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_ids(sd_bus_message *m, const char *key, const uint32_t ids[static 4])
{
    return sd_bus_message_append(m, "{sv}", key, "au", 4, ids[0], ids[1], ids[2], ids[3]);
}

static int append_inspection(sd_bus_message *m, const struct inspection *i, bool own)
{
    int r;

    r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}",   /* */
                              "yama-scope", "u", proc_read_yama_scope(),   /* */
                              "pid", "u", (uint32_t)i->pid,                /* */
                              "permitted", "t", i->permitted,              /* */
                              "user-namespace", "t", i->user_namespace,    /* */
                              "dumpable", "b", (int)i->dumpable,           /* */
                              "kernel-thread", "b", (int)i->kernel_thread, /* */
                              "zombie", "b", (int)i->zombie,               /* */
                              "own", "b", (int)own,                        /* */
                              "tracer-pid", "u", (uint32_t)i->tracer);
    if (r >= 0)
        r = append_ids(m, "uids", i->uids);
    if (r >= 0)
        r = append_ids(m, "gids", i->gids);
    if (r >= 0)
        r = sd_bus_message_append(m, "{sv}{sv}", "memory-device", "t", i->memory_device,
                                  "memory-inode", "t", i->memory_inode);
    if (r >= 0)
        r = append_string(m, "comm", i->comm);
    if (r >= 0 && i->executable)
        r = append_string(m, "executable", i->executable);
    if (r >= 0 && i->executable)
        r = append_bytes(m, "program", i->executable);
    if (r >= 0 && i->tracer > 0)
        r = append_string(m, "tracer-comm", i->tracer_comm);
    if (r >= 0 && i->tracer > 0)
        r = sd_bus_message_append(m, "{sv}", "tracer-own", "b", i->tracer_is_ours);
    return r;
}

static int reply_inspection(sd_bus_message *m, const struct inspection *i, bool own)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r >= 0)
        r = append_inspection(reply, i, own);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    return r;
}

static int method_inspect(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_(inspection_done) struct inspection i = {0};
    struct keeper *k = userdata;
    uint32_t tid;
    int r, pidfd;

    r = sd_bus_message_read(m, "hu", &pidfd, &tid);
    if (r < 0)
        return r;
    r = tid > INT_MAX ? -ENXIO : inspect(pidfd, (pid_t)tid, &i);
    switch (r) {
    case -ESRCH:
        return sd_bus_error_set(error, PTRACED_ERROR_NO_SUCH_PROCESS, "The process is gone");
    case -ENXIO:
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD,
                                 "The process has no thread %u", tid);
    case -EBADF:
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                "The descriptor is not a process's pidfd");
    default:
        if (r < 0)
            return sd_bus_error_set_errnof(error, r, "Cannot inspect the process: %s",
                                           strerror(-r));
    }
    return reply_inspection(m, &i, keeper_owns(k, &i));
}

static int method_find_thread(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_close_fd_ int pidfd = -1;
    uint32_t tid;
    int r;

    r = sd_bus_message_read(m, "u", &tid);
    if (r < 0)
        return r;
    r = tid == 0 || tid > INT_MAX ? -ESRCH : inspect_find_thread((pid_t)tid, &pidfd);
    if (r == -ESRCH)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD, "There is no thread %u", tid);
    if (r < 0)
        return sd_bus_error_set_errnof(error, r, "Cannot find the process of thread %u: %s", tid,
                                       strerror(-r));
    return sd_bus_reply_method_return(m, "h", pidfd);
}

static int set_take_error(sd_bus_error *error, int r, uid_t user, unsigned max)
{
    switch (r) {
    case -EUSERS:
        return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                                 "The limit TracersMax is reached: no more than %u tracers of user "
                                 "%u, one for each tree of processes; detach from some first. One "
                                 "that a process holds up ends when that process does",
                                 max, user);
    case -EDQUOT:
        return sd_bus_error_setf(
            error, PTRACED_ERROR_LIMIT_EXCEEDED,
            "The limit AllTracersMax is reached: no more than %u tracers of all "
            "users, one for each tree of processes; detach from some first",
            KEEPER_TRACERS_MAX);
    case -EMFILE:
    case -ENFILE:
        return sd_bus_error_set(
            error, PTRACED_ERROR_LIMIT_EXCEEDED,
            "The limit LimitNOFILE= of the keeper's unit is reached: no more open "
            "files, which each tracer takes; detach from some processes "
            "first, or raise it");
    case -EAGAIN:
        return sd_bus_error_set(
            error, PTRACED_ERROR_LIMIT_EXCEEDED,
            "The limit TasksMax= of the keeper's unit is reached: no more processes, which each "
            "tracer is; detach from some processes first, or raise it");
    default:
        return sd_bus_error_set_errnof(error, r, "Cannot start a tracer: %s", strerror(-r));
    }
}

static int method_take_tracer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_close_fd_ int fd = -1;
    struct keeper *k = userdata;
    uint32_t user, max;
    pid_t pid;
    int r;

    r = sd_bus_message_read(m, "uu", &user, &max);
    if (r < 0)
        return r;
    r = keeper_take(k, user, max, &pid, &fd);
    if (r < 0)
        return set_take_error(error, r, user, max);
    return sd_bus_reply_method_return(m, "uh", (uint32_t)pid, fd);
}

/* The tracers that a list names, which it may not come to. */
struct announced {
    pid_t pids[LIST_TRACERS_MAX];
    unsigned n;
};

/* Where descriptors run out, there are fewer in it: with what it has taken sent, the next list
 * finds some. */
static int append_tracers(sd_bus_message *m, struct keeper *k, struct announced *a)
{
    while (a->n < LIST_TRACERS_MAX) {
        _cleanup_close_fd_ int fd = -1;
        pid_t pid;
        int r;

        r = keeper_announce_next(k, &pid, &fd);
        if (r <= 0)
            return a->n > 0 ? 0 : r;
        a->pids[a->n++] = pid;
        r = sd_bus_message_append(m, "(uh)", (uint32_t)pid, fd);
        if (r < 0)
            return r;
    }
    return 0;
}

static void take_back(struct keeper *k, const struct announced *a)
{
    for (unsigned i = 0; i < a->n; i++)
        keeper_unannounce(k, a->pids[i]);
}

/* A broker that gets an empty list has a socket to every tracer. */
static int method_list_tracers(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    struct announced announced = {0};
    int r;

    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(uh)");
    if (r >= 0)
        r = append_tracers(reply, userdata, &announced);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    if (r < 0)
        take_back(userdata, &announced);
    return r;
}

static int method_end_tracer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint32_t pid;
    int r;

    r = sd_bus_message_read(m, "u", &pid);
    if (r < 0)
        return r;
    r = pid > INT_MAX ? -ESRCH : keeper_end(userdata, (pid_t)pid);
    if (r == -ESRCH)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                 "Process %u is no tracer of this keeper", pid);
    if (r < 0)
        return sd_bus_error_set_errnof(error, r, "Cannot kill tracer %u: %s", pid, strerror(-r));
    return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable keeper_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Inspect", SD_BUS_ARGS("h", pidfd, "u", tid),
                            SD_BUS_RESULT("a{sv}", facts), method_inspect, 0),
    SD_BUS_METHOD_WITH_ARGS("FindThread", SD_BUS_ARGS("u", tid), SD_BUS_RESULT("h", pidfd),
                            method_find_thread, 0),
    SD_BUS_METHOD_WITH_ARGS("TakeTracer", SD_BUS_ARGS("u", user, "u", max),
                            SD_BUS_RESULT("u", pid, "h", socket), method_take_tracer, 0),
    SD_BUS_METHOD_WITH_ARGS("ListTracers", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(uh)", tracers),
                            method_list_tracers, 0),
    SD_BUS_METHOD_WITH_ARGS("EndTracer", SD_BUS_ARGS("u", pid), SD_BUS_NO_RESULT, method_end_tracer,
                            0),
    SD_BUS_VTABLE_END,
};

/* A broker of another version has come. */
static int method_retire(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    log_notice("A broker of another version has come, releasing everything that is traced");
    release_and_exit(userdata);
    return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable retire_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Retire", NULL, NULL, method_retire, 0),
    SD_BUS_VTABLE_END,
};

int keeper_bus_add_object(struct keeper *k, sd_bus *bus)
{
    int r = sd_bus_add_object_vtable(bus, NULL, PTRACED_KEEPER_PATH, PTRACED_KEEPER_INTERFACE,
                                     keeper_vtable, k);

    return r < 0 ? r
                 : sd_bus_add_object_vtable(bus, NULL, PTRACED_KEEPER_PATH,
                                            PTRACED_RETIRE_INTERFACE, retire_vtable, k);
}
