/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/trace/image.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/process.h"
#include "daemon/trace/procfs.h"

#define PATH_SIZE 96

/* Where a session may not reach everything, what is asked has to be traced by us. */
static bool may_ask_leader(const struct process *p)
{
    const struct attachment *a;
    const struct tracee *tracee;
    bool is_limited = false;

    TAILQ_FOREACH(a, &p->attachments, by_process)
        is_limited |= a->grant != NULL;
    if (!is_limited)
        return p->leader_seen;
    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        if (tracee->tid == p->pidref.pid)
            return true;
    return false;
}

/* The leader where it will do: its own files are the ones that everybody else knows. */
static int find_thread(const struct process *p, pid_t *ret)
{
    const struct tracee *tracee;

    if (!pidref_exists(&p->pidref))
        return -ESRCH;
    if (may_ask_leader(p) && proc_has_memory(p->pidref.pid, p->pidref.pid)) {
        *ret = p->pidref.pid;
        return 0;
    }
    TAILQ_FOREACH(tracee, &p->tracees, siblings)
        if (proc_has_memory(p->pidref.pid, tracee->tid)) {
            *ret = tracee->tid;
            return 0;
        }
    return -ESRCH;
}

static int open_path(const char *path, int flags, int *ret_fd)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    *ret_fd = fd;
    return 0;
}

int image_open(const struct process *p, const char *name, int flags, int *ret_fd)
{
    char path[PATH_SIZE];
    pid_t tid;
    int r = find_thread(p, &tid);

    if (r < 0)
        return r;
    if (tid == p->pidref.pid)
        snprintf(path, sizeof(path), "/proc/%d/%s", tid, name);
    else
        snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", p->pidref.pid, tid, name);
    r = open_path(path, flags, ret_fd);
    if (r >= 0 && process_check_grants(p, tid) < 0) {
        close(*ret_fd);
        *ret_fd = -1;
        return -EACCES;
    }
    return r;
}

/* One byte more than `max` is asked for, which tells whether there is more. */
static int read_all(int fd, size_t max, char **buffer, size_t *ret_size)
{
    size_t n = 0, size = 0;

    for (;;) {
        ssize_t k;

        if (size - n < 2) {
            size_t larger = size == 0 ? 16384 : 2 * size;
            char *grown = realloc(*buffer, larger);

            if (!grown)
                return -ENOMEM;
            *buffer = grown;
            size = larger;
        }
        k = read(fd, *buffer + n, size - n - 1);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        n += (size_t)k;
        if (n > max)
            return -E2BIG;
        if (k == 0)
            break;
    }
    (*buffer)[n] = '\0';
    *ret_size = n;
    return 0;
}

int image_read(const struct process *p, const char *name, size_t max, char **ret, size_t *ret_size)
{
    _cleanup_free_ char *buffer = NULL;
    _cleanup_close_ int fd = -1;
    int r = image_open(p, name, O_RDONLY, &fd);

    if (r >= 0)
        r = read_all(fd, max, &buffer, ret_size);
    if (r < 0)
        return r;
    *ret = buffer;
    buffer = NULL;
    return 0;
}

/* ---- Auxiliary vector ---------------------------------------------------------------------- */

static uint64_t word_at(const void *auxv, size_t width, size_t i)
{
    uint64_t wide;
    uint32_t narrow;

    if (width == sizeof(wide)) {
        memcpy(&wide, (const char *)auxv + i * width, width);
        return wide;
    }
    memcpy(&narrow, (const char *)auxv + i * width, sizeof(narrow));
    return narrow;
}

/* The types are small numbers, and an entry of two 32-bit words read as one word of 64 is none
 * unless its value is 0: not so for all of them. */
static bool is_layout(const void *auxv, size_t size, size_t width)
{
    const uint64_t type_max = 4095;
    size_t n = size / (2 * width);

    for (size_t i = 0; i < n; i++) {
        uint64_t type = word_at(auxv, width, 2 * i);

        if (type == AT_NULL)
            return i > 0;
        if (type > type_max)
            return false;
    }
    return n > 0;
}

int image_find_auxv(const void *auxv, size_t size, uint64_t type, uint64_t *ret)
{
    size_t width = is_layout(auxv, size, sizeof(uint64_t)) ? sizeof(uint64_t) : sizeof(uint32_t);

    for (size_t i = 0; i < size / (2 * width); i++) {
        uint64_t found = word_at(auxv, width, 2 * i);

        if (found == type) {
            *ret = word_at(auxv, width, 2 * i + 1);
            return 0;
        }
        if (found == AT_NULL)
            break;
    }
    return -ENOENT;
}

int image_entry_point(const struct process *p, uint64_t *ret)
{
    _cleanup_free_ char *auxv = NULL;
    size_t size;
    int r = image_read(p, "auxv", 65536, &auxv, &size);

    return r < 0 ? r : image_find_auxv(auxv, size, AT_ENTRY, ret);
}

/* ---- Mapped files -------------------------------------------------------------------------- */

/* "START-END PERMISSIONS ...". The kernel alone writes what is looked at here; a line feed in the
 * file's name at the end, which is not, it writes as \012 (fs/seq_file.c:seq_file_path()). */
static bool parse_map(const char *line, uint64_t *ret_start, uint64_t *ret_end,
                      char ret_permissions[static 5])
{
    char *end;

    *ret_start = strtoull(line, &end, 16);
    if (*end != '-')
        return false;
    *ret_end = strtoull(end + 1, &end, 16);
    if (*end != ' ' || strlen(end + 1) < 4)
        return false;
    memcpy(ret_permissions, end + 1, 4);
    ret_permissions[4] = '\0';
    return true;
}

static int find_map(const struct process *p, uint64_t address, uint64_t *ret_start,
                    uint64_t *ret_end, char ret_permissions[static 5])
{
    _cleanup_free_ char *line = NULL;
    int fd, r = image_open(p, "maps", O_RDONLY, &fd);
    size_t size = 0;
    bool any = false;
    FILE *f;

    if (r < 0)
        return r;
    f = fdopen(fd, "re");
    if (!f) {
        close(fd);
        return -ENOMEM;
    }
    r = -EFAULT;
    while (r < 0 && getline(&line, &size, f) > 0) {
        any = true;
        if (parse_map(line, ret_start, ret_end, ret_permissions) && address >= *ret_start &&
            address < *ret_end)
            r = 0;
    }
    fclose(f);
    return any ? r : -ESRCH;
}

/* What it is, is known before it is opened for real. */
static int open_regular(const char *path, int *ret_fd)
{
    _cleanup_close_ int found = open(path, O_PATH | O_CLOEXEC);
    char again[PATH_SIZE];
    struct stat st;

    if (found < 0 || fstat(found, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    snprintf(again, sizeof(again), "/proc/self/fd/%d", found);
    return open_path(again, O_RDONLY, ret_fd);
}

int image_open_mapped_file(const struct process *p, uint64_t address, int *ret_fd)
{
    char path[PATH_SIZE], permissions[5];
    uint64_t start, end;
    int r = find_map(p, address, &start, &end, permissions);

    if (r < 0)
        return r;
    if (!proc_has_memory(p->pidref.pid, p->pidref.pid))
        return -EOPNOTSUPP;
    snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", p->pidref.pid,
             (unsigned long long)start, (unsigned long long)end);
    return open_regular(path, ret_fd);
}

int image_check_text(const struct process *p, uint64_t address, size_t size)
{
    char permissions[5];
    uint64_t start, end;
    int r = find_map(p, address, &start, &end, permissions);

    if (r < 0)
        return r;
    if (size > end - address)
        return -EFAULT;
    return permissions[2] == 'x' && permissions[3] == 'p' ? 0 : -EACCES;
}

/* Of linux/fs.h, which is younger than many a system's headers. */
struct map_query {
    uint64_t size; /* of this */
    uint64_t flags;
    uint64_t address;
    uint64_t start, end; /* these and the following are answers */
    uint64_t map_flags;
    uint64_t page_size, offset, inode;
    uint32_t major, minor;
    uint32_t name_size, build_id_size;
    uint64_t name, build_id;
};

#define MAP_QUERY _IOWR('f', 17, struct map_query)
#define MAP_QUERY_READABLE 1u

_Static_assert(sizeof(struct map_query) == 104, "the kernel's");

int image_readable_size(int maps, uint64_t address, uint64_t max, uint64_t *ret)
{
    uint64_t end = address;

    while (end - address < max) {
        struct map_query query = {.size = sizeof(query), .address = end};

        if (ioctl(maps, MAP_QUERY, &query) < 0) {
            if (end == address)
                return -errno;
            break;
        }
        if (!(query.map_flags & MAP_QUERY_READABLE))
            break;
        end = query.end;
    }
    *ret = end - address < max ? end - address : max;
    return 0;
}
