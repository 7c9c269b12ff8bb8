/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/broker/caller.h"

static int read_groups(sd_bus_message *m, struct caller *c)
{
    const void *groups;
    size_t size;
    gid_t *copy;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, "au");
    if (r < 0)
        return r;
    r = sd_bus_message_read_array(m, 'u', &groups, &size);
    if (r < 0)
        return r;
    copy = size > 0 ? malloc(size) : NULL;
    if (size > 0 && !copy)
        return -ENOMEM;
    if (size > 0)
        memcpy(copy, groups, size);
    free(c->groups);
    c->groups = copy;
    c->n_groups = size / sizeof(gid_t);
    return sd_bus_message_exit_container(m);
}

static int read_process_fd(sd_bus_message *m, struct caller *c)
{
    int r, fd;

    r = sd_bus_message_read(m, "v", "h", &fd);
    if (r < 0)
        return r;
    if (c->pidfd >= 0)
        close(c->pidfd);
    c->pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return c->pidfd < 0 ? -errno : 0;
}

static int read_credential(sd_bus_message *m, struct caller *c, bool *has_uid)
{
    const char *key;
    uint32_t number;
    int r;

    r = sd_bus_message_read(m, "s", &key);
    if (r < 0)
        return r;
    if (strcmp(key, "UnixGroupIDs") == 0)
        return read_groups(m, c);
    if (strcmp(key, "ProcessFD") == 0)
        return read_process_fd(m, c);
    if (strcmp(key, "UnixUserID") != 0 && strcmp(key, "ProcessID") != 0)
        return sd_bus_message_skip(m, "v");
    r = sd_bus_message_read(m, "v", "u", &number);
    if (r < 0)
        return r;
    if (strcmp(key, "ProcessID") == 0)
        c->pid = number <= INT_MAX ? (pid_t)number : 0;
    else {
        c->uid = (uid_t)number;
        *has_uid = true;
    }
    return 0;
}

/* What the bus does not tell is unknown, but for the user. */
int caller_read_credentials(struct caller *c, sd_bus_message *m)
{
    bool has_uid = false;
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        r = read_credential(m, c, &has_uid);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : has_uid ? 0 : -ENODATA;
}
