/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/kept.h"
#include "daemon/broker/limits.h"

#define MIB ((uint64_t)1 << 20)

/* Of the limit, for what a snapshot may take: that is told by its threads, which only the tracer
 * counts. */
#define SNAPSHOTS_AT_ONCE 4u

struct kept_user {
    struct list users;
    uid_t uid;
    unsigned n_files;
    uint64_t n_mib;
};

struct kept_file {
    struct kept_user *user;
    unsigned n_mib;
    bool is_there; /* while what is gone is looked for */
};

void kept_init(struct kept *k, sd_event *event)
{
    *k = (struct kept){.event = event, .inotify = -1};
    list_init(&k->users);
}

bool kept_is_empty(const struct kept *k)
{
    return k->files.n == 0;
}

static struct kept_user *find_user(const struct kept *k, uid_t uid)
{
    LIST_FOREACH(struct kept_user, u, &k->users, users)
        if (u->uid == uid)
            return u;
    return NULL;
}

static struct kept_user *get_user(struct kept *k, uid_t uid)
{
    struct kept_user *u = find_user(k, uid);

    if (u)
        return u;
    u = malloc(sizeof(*u));
    if (!u)
        return NULL;
    *u = (struct kept_user){.uid = uid};
    list_append(&k->users, &u->users);
    return u;
}

static void put_user(struct kept_user *u)
{
    if (u->n_files > 0)
        return;
    list_remove(&u->users);
    free(u);
}

static void forget(struct kept *k, uint64_t watch)
{
    struct kept_file *f = index_find(&k->files, watch);

    if (!f)
        return;
    index_remove(&k->files, watch, f);
    f->user->n_files--;
    f->user->n_mib -= f->n_mib;
    put_user(f->user);
    free(f);
}

void kept_done(struct kept *k)
{
    while (k->files.n > 0)
        forget(k, k->files.items[k->files.n - 1].key);
    index_done(&k->files);
    k->source = sd_event_source_disable_unref(k->source);
}

/* ---- What is gone ---- */

static void mark_watched(struct kept *k, FILE *info)
{
    _cleanup_free_string_ char *line = NULL;
    size_t n_allocated = 0;
    unsigned watch;

    while (getline(&line, &n_allocated, info) > 0) {
        struct kept_file *f;

        if (sscanf(line, "inotify wd:%x ", &watch) != 1)
            continue;
        f = index_find(&k->files, watch);
        if (f)
            f->is_there = true;
    }
}

/* By the list of what is still watched. */
static void forget_gone(struct kept *k)
{
    char path[64];
    bool failed;
    FILE *info;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", k->inotify);
    info = fopen(path, "re");
    if (!info)
        return;
    for (size_t i = 0; i < k->files.n; i++)
        ((struct kept_file *)k->files.items[i].value)->is_there = false;
    mark_watched(k, info);
    failed = ferror(info);
    fclose(info);
    if (failed)
        return;
    k->unsure = false;
    for (size_t i = k->files.n; i-- > 0;)
        if (!((const struct kept_file *)k->files.items[i].value)->is_there)
            forget(k, k->files.items[i].key);
}

/* False: there are none. */
static bool take_events(struct kept *k)
{
    union {
        struct inotify_event first;
        char bytes[4096];
    } buffer;
    ssize_t n = read(k->inotify, &buffer, sizeof(buffer));

    for (ssize_t at = 0; at < n;) {
        struct inotify_event e;

        memcpy(&e, buffer.bytes + at, sizeof(e));
        if (e.mask & IN_Q_OVERFLOW)
            k->unsure = true;
        else if (e.mask & IN_IGNORED)
            forget(k, (uint64_t)e.wd);
        at += (ssize_t)(sizeof(e) + e.len);
    }
    return n > 0;
}

static int on_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct kept *k = userdata;

    take_events(k);
    if (k->unsure)
        forget_gone(k);
    return 0;
}

/* Without waiting for the loop: who closes a file, and then calls, has room. */
static void catch_up(struct kept *k)
{
    while (k->source && take_events(k))
        ;
    if (k->unsure)
        forget_gone(k);
}

/* ---- What is asked for ---- */

static unsigned to_mib(uint64_t n_bytes)
{
    return n_bytes <= MIB ? 1 : (unsigned)((n_bytes + MIB - 1) / MIB);
}

/* What is wrong, or too much for one call, the tracer refuses. */
static unsigned measure_ranges(sd_bus_message *call)
{
    uint64_t address, size, total = 0;
    bool is_refused = false;

    if (!sd_bus_message_has_signature(call, "a(tt)") ||
        sd_bus_message_enter_container(call, SD_BUS_TYPE_ARRAY, "(tt)") < 0)
        return 1;
    while (!is_refused && sd_bus_message_read(call, "(tt)", &address, &size) > 0) {
        is_refused = size > PTRACED_MEMORY_FD_MAX - total;
        total += size;
    }
    (void)sd_bus_message_rewind(call, true);
    return is_refused ? 1 : to_mib(total);
}

static unsigned measure_snapshot(void)
{
    unsigned share = limit_value(LIMIT_KEPT) / SNAPSHOTS_AT_ONCE,
             most = to_mib(PTRACED_SNAPSHOT_MAX);

    return share < 1 ? 1 : share < most ? share : most;
}

unsigned kept_measure_call(sd_bus_message *call)
{
    if (sd_bus_message_is_method_call(call, PTRACED_PROCESS_INTERFACE, "ReadMemoryFD"))
        return measure_ranges(call);
    if (sd_bus_message_is_method_call(call, PTRACED_PROCESS_INTERFACE, "Snapshot"))
        return measure_snapshot();
    return 0;
}

static uint64_t count(const struct kept *k, uid_t uid)
{
    const struct kept_user *u = find_user(k, uid);

    return u ? u->n_mib : 0;
}

uint64_t kept_count(struct kept *k, uid_t uid)
{
    catch_up(k);
    return count(k, uid);
}

uint64_t kept_count_most(struct kept *k)
{
    uint64_t most = 0;

    catch_up(k);
    LIST_FOREACH(const struct kept_user, u, &k->users, users)
        most = u->n_mib > most ? u->n_mib : most;
    return most;
}

static bool has_room(const struct kept *k, uid_t uid, uint64_t wanted)
{
    return count(k, uid) + wanted <= limit_value(LIMIT_KEPT);
}

int kept_check(struct kept *k, uid_t uid, unsigned under_way, unsigned more, sd_bus_error *error)
{
    const uint64_t wanted = (uint64_t)under_way + more;

    if (has_room(k, uid, wanted))
        return 0;
    catch_up(k);
    return has_room(k, uid, wanted) ? 0 : limit_check(LIMIT_KEPT, SIZE_MAX, error);
}

/* ---- What is passed on ---- */

static int start(struct kept *k)
{
    _cleanup_close_fd_ int fd = -1;
    int r;

    if (k->source)
        return 0;
    fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0)
        return -errno;
    r = sd_event_add_io(k->event, &k->source, fd, EPOLLIN, on_event, k);
    if (r < 0)
        return r;
    r = sd_event_source_set_io_fd_own(k->source, true);
    if (r < 0) {
        k->source = sd_event_source_disable_unref(k->source);
        return r;
    }
    k->inotify = TAKE_FD(fd);
    return 0;
}

static int watch(struct kept *k, int fd)
{
    char path[64];
    int r = start(k);

    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    /* Its end is told in any case; what is asked for is an event that a memfd does not have. */
    r = inotify_add_watch(k->inotify, path, IN_MOVE_SELF);
    return r < 0 ? -errno : r;
}

static int explain_watch(int r, sd_bus_error *error)
{
    if (r != -ENOSPC && r != -EMFILE)
        return r;
    return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                             "The limit %s is reached, and a file of memory that cannot be watched "
                             "is not given away; close some first, or raise it",
                             r == -ENOSPC ? "fs.inotify.max_user_watches of the service's user"
                                          : "fs.inotify.max_user_instances of the service's user");
}

static int add(struct kept *k, struct kept_user *u, int fd, unsigned n_mib, sd_bus_error *error)
{
    struct kept_file *f = malloc(sizeof(*f));
    int wd, r;

    if (!f)
        return -ENOMEM;
    *f = (struct kept_file){.user = u, .n_mib = n_mib};
    wd = watch(k, fd);
    r = wd < 0 ? explain_watch(wd, error) : index_add(&k->files, (uint64_t)wd, f);
    if (r < 0) {
        if (wd >= 0)
            (void)inotify_rm_watch(k->inotify, wd);
        free(f);
        return r;
    }
    u->n_files++;
    u->n_mib += n_mib;
    return 0;
}

/* It is sealed, but a mapping allocates what is a hole when it is read. */
static int measure_file(sd_bus_message *answer, int *ret_fd, unsigned *ret_mib)
{
    struct stat st;
    uint64_t size, allocated;
    int fd = -1, r;

    r = sd_bus_message_read(answer, "h", &fd);
    if (r >= 0)
        r = sd_bus_message_rewind(answer, true);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    size = (uint64_t)st.st_size;
    allocated = (uint64_t)st.st_blocks * 512;
    *ret_fd = fd;
    *ret_mib = to_mib(size > allocated ? size : allocated);
    return 0;
}

int kept_add(struct kept *k, uid_t uid, unsigned under_way, sd_bus_message *answer,
             sd_bus_error *error)
{
    struct kept_user *u;
    unsigned n_mib = 0;
    int fd = -1, r;

    r = measure_file(answer, &fd, &n_mib);
    if (r >= 0)
        r = kept_check(k, uid, under_way, n_mib, error);
    if (r < 0)
        return r;
    u = get_user(k, uid);
    if (!u)
        return -ENOMEM;
    r = add(k, u, fd, n_mib, error);
    put_user(u);
    return r;
}
