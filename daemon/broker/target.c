/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

static int read_text(sd_bus_message *m, char *ret, size_t size)
{
    const char *text;
    int r;

    r = sd_bus_message_read(m, "v", "s", &text);
    if (r >= 0)
        snprintf(ret, size, "%s", text);
    return r;
}

static int read_string(sd_bus_message *m, char **ret)
{
    const char *text;
    char *copy;
    int r;

    r = sd_bus_message_read(m, "v", "s", &text);
    if (r < 0)
        return r;
    copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    free(*ret);
    *ret = copy;
    return 0;
}

static int read_bytes(sd_bus_message *m, void **ret, size_t *ret_size)
{
    const void *bytes;
    size_t size;
    void *copy;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, "ay");
    if (r < 0)
        return r;
    r = sd_bus_message_read_array(m, 'y', &bytes, &size);
    if (r < 0)
        return r;
    copy = malloc(size + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, bytes, size);
    free(*ret);
    *ret = copy;
    *ret_size = size;
    return sd_bus_message_exit_container(m);
}

/* Real, effective, saved, and that for files, which follows the effective one. */
static int read_ids(sd_bus_message *m, uint32_t ret[static 3])
{
    const void *ids;
    size_t size;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, "au");
    if (r < 0)
        return r;
    r = sd_bus_message_read_array(m, 'u', &ids, &size);
    if (r < 0)
        return r;
    if (size != 4 * sizeof(uint32_t))
        return -EBADMSG;
    memcpy(ret, ids, 3 * sizeof(uint32_t));
    return sd_bus_message_exit_container(m);
}

static int read_fact(sd_bus_message *m, const char *key, struct target *t)
{
    if (strcmp(key, "pid") == 0)
        return read_pid(m, &t->pid);
    if (strcmp(key, "tracer-pid") == 0)
        return read_pid(m, &t->tracer);
    if (strcmp(key, "comm") == 0)
        return read_text(m, t->comm, sizeof(t->comm));
    if (strcmp(key, "tracer-comm") == 0)
        return read_text(m, t->tracer_comm, sizeof(t->tracer_comm));
    if (strcmp(key, "executable") == 0)
        return read_string(m, &t->executable);
    if (strcmp(key, "uids") == 0)
        return read_ids(m, t->uids);
    if (strcmp(key, "gids") == 0)
        return read_ids(m, t->gids);
    if (strcmp(key, "permitted") == 0)
        return sd_bus_message_read(m, "v", "t", &t->permitted);
    if (strcmp(key, "user-namespace") == 0)
        return sd_bus_message_read(m, "v", "t", &t->user_namespace);
    if (strcmp(key, "memory-device") == 0)
        return sd_bus_message_read(m, "v", "t", &t->memory_device);
    if (strcmp(key, "memory-inode") == 0)
        return sd_bus_message_read(m, "v", "t", &t->memory_inode);
    if (strcmp(key, "program") == 0)
        return read_bytes(m, &t->program, &t->program_size);
    if (strcmp(key, "yama-scope") == 0)
        return sd_bus_message_read(m, "v", "u", &t->yama_scope);
    if (strcmp(key, "dumpable") == 0)
        return read_flag(m, &t->dumpable);
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

static int read_facts(sd_bus_message *reply, struct target *t)
{
    int r;

    r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(reply, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        const char *key;

        r = sd_bus_message_read(reply, "s", &key);
        if (r >= 0)
            r = read_fact(reply, key, t);
        if (r >= 0)
            r = sd_bus_message_exit_container(reply);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : t->pid <= 0 ? -EBADMSG : 0;
}

int target_read(sd_bus_message *reply, struct target *ret)
{
    struct target t = {0};
    int r = read_facts(reply, &t);

    if (r < 0) {
        target_done(&t);
        return r;
    }
    *ret = t;
    return 0;
}

void target_done(struct target *t)
{
    free(t->executable);
    free(t->program);
    *t = (struct target){0};
}

bool target_is_same(const struct target *t, const struct target *asked)
{
    return memcmp(t->uids, asked->uids, sizeof(t->uids)) == 0 &&
           memcmp(t->gids, asked->gids, sizeof(t->gids)) == 0 && t->permitted == asked->permitted &&
           t->user_namespace == asked->user_namespace && t->dumpable == asked->dumpable &&
           t->program && asked->program && t->program_size == asked->program_size &&
           memcmp(t->program, asked->program, t->program_size) == 0;
}

bool target_is_plain(const struct target *t, uid_t uid)
{
    for (size_t i = 0; i < 3; i++)
        if (t->uids[i] != uid)
            return false;
    return t->permitted == 0 && t->dumpable;
}

int target_check_kind(const struct target *t, sd_bus_error *error)
{
    if (t->kernel_thread)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                                 "Process %d (%s) is a kernel thread; those cannot be traced",
                                 t->pid, t->comm);
    return 0;
}

int target_check(const struct target *t, bool ours, sd_bus_error *error)
{
    int r = target_check_kind(t, error);

    if (r < 0)
        return r;
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
