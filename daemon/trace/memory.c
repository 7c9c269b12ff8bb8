/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/trace/image.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/memory.h"
#include "daemon/trace/process.h"
#include "daemon/trace/space.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

/* What goes from the process to a memfd at a time. 32 KiB to 1 MiB are equally fast; reading
 * straight into a mapping of the memfd is slower by a fifth, for its page faults. */
#define CHUNK_SIZE ((size_t)256 * 1024)

void memory_forget(struct process *p)
{
    if (p->memory.fd >= 0)
        close(p->memory.fd);
    p->memory = MEMORY_NULL;
}

/* Where the kernel gives no write access, reading may still be had. */
static int open_kept(struct process *p)
{
    struct memory *m = &p->memory;
    int r;

    if (m->fd >= 0)
        return 0;
    r = image_open(p, "mem", O_RDWR, &m->fd);
    m->writable = r >= 0;
    if (r == -EACCES || r == -EPERM || r == -EROFS)
        r = image_open(p, "mem", O_RDONLY, &m->fd);
    return r;
}

static int reopen_kept(struct process *p)
{
    close(p->memory.fd);
    p->memory.fd = -1;
    return open_kept(p);
}

/* The offset is the address, and its sign bit has to be clear (fs/read_write.c:ksys_pread64()). No
 * program has memory there. */
static size_t within_address_space(uint64_t address, size_t size)
{
    const uint64_t end = (uint64_t)INT64_MAX + 1;

    if (address >= end)
        return 0;
    return size < end - address ? size : (size_t)(end - address);
}

struct transfer {
    uint64_t address;
    char *to;         /* either, or */
    const char *from; /* of these */
    size_t size;
};

static ssize_t transfer_some(struct process *p, const struct transfer *t, size_t done)
{
    off_t offset = (off_t)(t->address + done);
    ssize_t n = t->to ? pread(p->memory.fd, t->to + done, t->size - done, offset)
                      : pwrite(p->memory.fd, t->from + done, t->size - done, offset);

    if (n < 0)
        return errno == EIO ? -EFAULT : -errno; /* fs/proc/base.c:mem_rw() */
    return n;
}

/* The kernel moves whole pages until one is refused, so a short count isn't the last word. A count
 * of 0 says that the memory behind the descriptor is gone: the process has ended, or is in an exec
 * whose stop nobody has looked at. */
static ssize_t transfer(struct process *p, const struct transfer *t)
{
    bool reopened = p->memory.fd < 0;
    size_t done = 0;
    ssize_t n;

    n = open_kept(p);
    if (n < 0)
        return n;
    if (t->from && !p->memory.writable)
        return -EACCES;
    while (done < t->size) {
        n = transfer_some(p, t, done);
        if (n == 0 && done == 0 && !reopened) {
            reopened = true;
            n = reopen_kept(p);
            if (n < 0)
                return n;
            continue;
        }
        if (n <= 0)
            return done > 0 ? (ssize_t)done : n < 0 ? n : -ESRCH;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t memory_read_text(struct process *p, uint64_t address, void *buffer, size_t size)
{
    struct transfer t = {.address = address, .to = buffer};

    t.size = within_address_space(address, size);
    return t.size == 0 && size > 0 ? -EFAULT : transfer(p, &t);
}

ssize_t memory_write_text(struct process *p, uint64_t address, const void *bytes, size_t size)
{
    struct transfer t = {.address = address, .from = bytes};

    t.size = within_address_space(address, size);
    return t.size == 0 && size > 0 ? -EFAULT : transfer(p, &t);
}

void memory_write_of(pid_t pid, uint64_t address, const void *bytes, size_t size)
{
    _cleanup_close_ int fd = -1;
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        (void)!pwrite(fd, bytes, size, (off_t)address);
}

ssize_t memory_read(struct process *p, uint64_t address, void *buffer, size_t size)
{
    ssize_t n = memory_read_text(p, address, buffer, size);

    if (n > 0 && p->space)
        space_mask(p->space, address, buffer, (size_t)n);
    return n;
}

/* Around our breakpoints: what is meant for these goes to what they stand for. */
ssize_t memory_write(struct process *p, uint64_t address, const void *buffer, size_t size)
{
    const uint8_t *bytes = buffer;
    size_t done = 0;

    if (!p->space)
        return memory_write_text(p, address, buffer, size);
    while (done < size) {
        ssize_t own = space_divert(p->space, address + done, bytes + done, size - done);
        ssize_t n;

        if (own < 0) {
            done++;
            continue;
        }
        n = memory_write_text(p, address + done, bytes + done, (size_t)own);
        if (n < 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
        if (n < own)
            break;
    }
    return (ssize_t)done;
}

int memory_open(struct process *p, bool writable, int *ret_fd)
{
    int r = image_open(p, "mem", writable ? O_RDWR : O_RDONLY, ret_fd);

    if (r >= 0 && writable)
        p->memory.lent_for_writing = true;
    return r;
}

/* ---- Many ranges into a memfd -------------------------------------------------------------- */

struct sink {
    int fd;
    char *chunk;
    size_t filled; /* of the chunk, not yet written */
    uint64_t done; /* written */
};

static int sink_flush(struct sink *s)
{
    size_t written = 0;

    while (written < s->filled) {
        ssize_t n = write(s->fd, s->chunk + written, s->filled - written);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            written += (size_t)n;
    }
    s->done += s->filled;
    s->filled = 0;
    return 0;
}

/* Small ranges share a chunk. Returns 0, or the first refusal, with what came before it kept. */
static int sink_read(struct sink *s, struct process *p, const struct memory_range *range)
{
    uint64_t at = 0;

    while (at < range->size) {
        size_t room = CHUNK_SIZE - s->filled;
        uint64_t left = range->size - at;
        size_t wanted = left < room ? (size_t)left : room;
        ssize_t n;

        if (range->address + at < range->address)
            return -EFAULT;
        n = memory_read(p, range->address + at, s->chunk + s->filled, wanted);
        if (n < 0)
            return (int)n;
        s->filled += (size_t)n;
        at += (uint64_t)n;
        if ((size_t)n < wanted)
            return -EFAULT;
        if (s->filled == CHUNK_SIZE) {
            int r = sink_flush(s);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Where it is known, not executable for good, which a system may demand (vm.memfd_noexec). */
int memory_new_memfd(void)
{
    int fd = memfd_create("ptraced-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("ptraced-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

static int sink_fill(struct sink *s, struct process *p, const struct memory_range *ranges, size_t n)
{
    int r = 0, flushed;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = sink_read(s, p, &ranges[i]);
    flushed = sink_flush(s);
    if (flushed < 0)
        return flushed;
    return r == -EFAULT || s->done > 0 ? 0 : r;
}

int memory_to_memfd(struct process *p, const struct memory_range *ranges, size_t n, int *ret_fd,
                    uint64_t *ret_done)
{
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    _cleanup_free_ char *chunk = malloc(CHUNK_SIZE);
    _cleanup_close_ int fd = -1;
    struct sink s = {.chunk = chunk};
    int r;

    if (!chunk)
        return -ENOMEM;
    fd = s.fd = memory_new_memfd();
    if (fd < 0)
        return fd;
    r = sink_fill(&s, p, ranges, n);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, seals) < 0)
        return -errno;
    *ret_fd = fd;
    *ret_done = s.done;
    fd = -1;
    return 0;
}
