/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick of reading memory: /proc/PID/mem in blocks, and with --how=memfd every block
 * written into a new memfd. Nothing needs to be stopped for that. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "tests/bench/clock.h"
#include "tests/bench/job.h"

#define BLOCK_SIZE (1024u * 1024u)

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0)
            return -errno;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

/* memfd: where the blocks go, or -1. */
static int read_blocks(const struct job *j, int mem, int memfd, char *block)
{
    for (size_t done = 0; done < j->size;) {
        size_t size = j->size - done < BLOCK_SIZE ? j->size - done : BLOCK_SIZE;
        ssize_t n = pread(mem, block, size, (off_t)(j->address + done));
        int r;

        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        r = memfd < 0 ? 0 : write_all(memfd, block, (size_t)n);
        if (r < 0)
            return r;
        done += (size_t)n;
    }
    return 0;
}

static int run(struct job *j)
{
    _cleanup_close_ int mem = -1, memfd = -1;
    _cleanup_free_ char *block = malloc(BLOCK_SIZE);
    char path[32];
    uint64_t begin;
    int r;

    if (!block)
        return -ENOMEM;
    memset(block, 1, BLOCK_SIZE);
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)j->pid);
    j->step = "read the memory of";
    mem = open(path, O_RDONLY | O_CLOEXEC);
    if (mem < 0)
        return -errno;
    job_begin(j);
    begin = used_usec();
    if (job_is(j, "memfd")) {
        memfd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (memfd < 0)
            return -errno;
    }
    r = read_blocks(j, mem, memfd, block);
    if (r < 0)
        return r;
    job_print_bytes(j, used_usec() - begin);
    return 0;
}

int main(int argc, char *argv[])
{
    return job_main(argc, argv, run);
}
