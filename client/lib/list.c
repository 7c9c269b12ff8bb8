/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

/* A list is one allocation: the entries, then the strings that they point to. So the answer is
 * read twice: to learn its size, then to fill it in. */

struct list {
    char *entries; /* NULL in the first round */
    size_t n;      /* entries so far */
    size_t total;  /* entries in all, known in the second round */
    size_t size;   /* of one entry */
    size_t n_text; /* bytes of strings so far */
};

/* Reads one entry, 0 at the end. `entry` is NULL in the first round. */
typedef int (*read_entry_t)(sd_bus_message *m, struct list *list, void *entry);

static const char *list_string(struct list *list, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = NULL;

    if (list->entries)
        copy = memcpy(list->entries + list->total * list->size + list->n_text, s, n);
    list->n_text += n;
    return copy;
}

static int read_round(sd_bus_message *m, const char *contents, read_entry_t read_entry,
                      struct list *list)
{
    int r;

    list->n = list->n_text = 0;
    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, contents);
    if (r < 0)
        return r;
    while ((r = read_entry(m, list, list->entries ? list->entries + list->n * list->size : NULL)) >
           0)
        list->n++;
    if (r < 0)
        return r;
    return list->n > INT_MAX ? -E2BIG : sd_bus_message_exit_container(m);
}

static int read_list(ptraced *p, sd_bus_message *m, const char *contents, read_entry_t read_entry,
                     size_t size, void *ret)
{
    struct list list = {.size = size};
    int r;

    r = read_round(m, contents, read_entry, &list);
    if (r < 0)
        return connection_fail(p, r, "The list cannot be read: %s", strerror(-r));
    list.total = list.n;
    /* One byte more, so that an empty list is an allocation too. */
    list.entries = calloc(1, list.total * size + list.n_text + 1);
    if (!list.entries)
        return connection_fail(p, -ENOMEM, "Out of memory.");
    r = sd_bus_message_rewind(m, true);
    if (r >= 0)
        r = read_round(m, contents, read_entry, &list);
    if (r < 0) {
        free(list.entries);
        return connection_fail(p, r, "The list cannot be read: %s", strerror(-r));
    }
    *(void **)ret = list.entries;
    return (int)list.total;
}

static int read_session(sd_bus_message *m, struct list *list, void *entry)
{
    struct ptraced_session_info *info = entry, first_round;
    const char *id, *name, *path;
    uint32_t uid;
    int r;

    r = sd_bus_message_read(m, "(suso)", &id, &uid, &name, &path);
    if (r <= 0)
        return r;
    if (!info)
        info = &first_round;
    info->id = list_string(list, id);
    info->name = list_string(list, name);
    info->uid = uid;
    return 1;
}

_public_ int ptraced_list_sessions(ptraced *p, struct ptraced_session_info **ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = connection_call(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "ListSessions", &reply,
                        "");
    if (r < 0)
        return r;
    return read_list(p, reply, "(suso)", read_session, sizeof(**ret), ret);
}

static int read_tracee(sd_bus_message *m, struct list *list, void *entry)
{
    struct ptraced_tracee_info *info = entry, first_round;
    uint32_t pid, uid, threads;
    const char *session, *path;
    int r;

    r = sd_bus_message_read(m, "(uuuso)", &pid, &uid, &threads, &session, &path);
    if (r <= 0)
        return r;
    if (!info)
        info = &first_round;
    info->session = list_string(list, session);
    info->pid = (pid_t)pid;
    info->uid = uid;
    info->threads = threads;
    return 1;
}

_public_ int ptraced_list_tracees(ptraced *p, struct ptraced_tracee_info **ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = connection_call(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "ListTracees", &reply, "");
    if (r < 0)
        return r;
    return read_list(p, reply, "(uuuso)", read_tracee, sizeof(**ret), ret);
}

static int read_thread(sd_bus_message *m, struct list *list, void *entry)
{
    struct ptraced_thread_info *info = entry, first_round;
    const char *path, *state;
    uint32_t tid;
    int r;

    r = sd_bus_message_read(m, "(uos)", &tid, &path, &state);
    if (r <= 0)
        return r;
    if (!info)
        info = &first_round;
    info->tid = (pid_t)tid;
    snprintf(info->state, sizeof(info->state), "%s", state);
    return 1;
}

_public_ int ptraced_list_threads(ptraced_session *s, pid_t pid, struct ptraced_thread_info **ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    char path[PTRACED_PATH_MAX];
    int r;

    if (pid <= 0)
        return connection_fail(s->connection, -EINVAL, "This is no process id: %d", pid);
    r = connection_call(s->connection, ptraced_path_process(path, s->id, pid),
                        PTRACED_PROCESS_INTERFACE, "ListThreads", &reply, "");
    if (r < 0)
        return r;
    return read_list(s->connection, reply, "(uos)", read_thread, sizeof(**ret), ret);
}

static int read_limit(sd_bus_message *m, struct list *list, void *entry)
{
    struct ptraced_limit_info *info = entry, first_round;
    const char *name, *what;
    uint64_t value, used;
    int r;

    r = sd_bus_message_read(m, "(stts)", &name, &value, &used, &what);
    if (r <= 0)
        return r;
    if (!info)
        info = &first_round;
    info->name = list_string(list, name);
    info->what = list_string(list, what);
    info->value = value;
    info->used = used;
    return 1;
}

_public_ int ptraced_list_limits(ptraced *p, struct ptraced_limit_info **ret)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    int r;

    r = connection_call(p, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, "ListLimits", &reply, "");
    if (r < 0)
        return r;
    return read_list(p, reply, "(stts)", read_limit, sizeof(**ret), ret);
}
