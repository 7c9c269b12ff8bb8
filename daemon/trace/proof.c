/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/trace/image.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/process.h"
#include "daemon/trace/proof.h"

#define RANDOM_SIZE 16u
#define AUXV_MAX 65536u

static bool is_open_for(int fd, bool observe)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || (flags & O_PATH))
        return false;
    return (flags & O_ACCMODE) == O_RDWR || (observe && (flags & O_ACCMODE) == O_RDONLY);
}

static bool is_same_file(int fd, int own)
{
    struct stat a, b;

    return fstat(fd, &a) >= 0 && fstat(own, &b) >= 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static bool is_same_program(int fd, int own, uint64_t at)
{
    uint8_t a[RANDOM_SIZE], b[RANDOM_SIZE];

    return at <= INT64_MAX && pread(fd, a, sizeof(a), (off_t)at) == (ssize_t)sizeof(a) &&
           pread(own, b, sizeof(b), (off_t)at) == (ssize_t)sizeof(b) &&
           memcmp(a, b, sizeof(a)) == 0;
}

/* -EKEYREJECTED: since it was seized it has executed what is beyond a grant, and nobody has looked
 * at that stop yet. In the middle of an exec there is no such address. */
static int find_random(const struct process *p, uint64_t *ret)
{
    _cleanup_free_ char *auxv = NULL;
    size_t size;
    int r = image_read(p, "auxv", AUXV_MAX, &auxv, &size);

    if (r == -EACCES)
        return -EKEYREJECTED;
    if (r < 0)
        return r;
    r = image_find_auxv(auxv, size, AT_RANDOM, ret);
    return r == -ENOENT ? -ENOKEY : r;
}

/* The path that the caller has opened: the leader's, and not that of image_open(). */
static int open_own(const struct process *p)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", p->pidref.pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int proof_check(const struct process *p, int fd, bool observe)
{
    _cleanup_close_ int own = -1;
    uint64_t at;
    int r;

    if (fd < 0 || !is_open_for(fd, observe))
        return -ENOKEY;
    own = open_own(p);
    if (own < 0)
        return own;
    if (!is_same_file(fd, own))
        return -ENOKEY;
    r = find_random(p, &at);
    if (r < 0)
        return r;
    return is_same_program(fd, own, at) ? 0 : -ENOKEY;
}
