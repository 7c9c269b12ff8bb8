/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The yardstick of snapshots: of every thread the registers, the siginfo of its stop and the top of
 * its stack go into a memfd while all of them stand. Everything is attached before, as it is for a
 * session that takes a snapshot; what is timed is from the first interrupt to the last thread let
 * go. With --how=populated the memfd has its pages before the first interrupt. */

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "tests/bench/clock.h"
#include "tests/bench/job.h"
#include "tests/bench/snapshot.h"
#include "tests/bench/tracees.h"

struct record {
    struct user_regs_struct regs;
    siginfo_t info;
    size_t stack_size;
    char stack[SNAPSHOT_STACK];
};

static int take(pid_t pid, pid_t tid, struct record *r)
{
    struct iovec local = {.iov_base = r->stack, .iov_len = sizeof(r->stack)}, remote = local;
    ssize_t n;

    if (ptrace(PTRACE_GETREGS, tid, NULL, &r->regs) < 0)
        return -errno;
    if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &r->info) < 0)
        return -errno;
    remote.iov_base = (void *)r->regs.rsp;
    n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (n < 0)
        return -errno;
    r->stack_size = (size_t)n;
    return 0;
}

static int map_records(const struct job *j, size_t n, struct record **ret)
{
    _cleanup_close_ int fd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const int populate = job_is(j, "populated") ? MAP_POPULATE : 0;
    void *map;

    if (fd < 0 || ftruncate(fd, (off_t)(n * sizeof(**ret))) < 0)
        return -errno;
    map = mmap(NULL, n * sizeof(**ret), PROT_READ | PROT_WRITE, MAP_SHARED | populate, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    *ret = map;
    return 0;
}

static int run(struct job *j)
{
    __attribute__((__cleanup__(tracees_done))) struct tracees t = {0};
    struct record *records = NULL;
    size_t bytes = 0;
    uint64_t begin;
    int r;

    r = tracees_seize(&t, j->pid, 0);
    if (r < 0)
        return r;
    r = map_records(j, t.n, &records);
    if (r < 0)
        return r;
    job_begin(j);
    begin = now_usec();
    r = tracees_stop(&t);
    if (r < 0)
        return r;
    for (size_t i = 0; i < t.n; i++) {
        r = take(j->pid, t.tids[i], &records[i]);
        if (r < 0)
            return r;
        bytes += records[i].stack_size;
    }
    r = tracees_resume(&t, PTRACE_DETACH);
    if (r < 0)
        return r;
    printf("{\"threads\":%zu,\"stacks\":%zu,\"total\":%llu}\n", t.n, bytes,
           (unsigned long long)(now_usec() - begin));
    return 0;
}

int main(int argc, char *argv[])
{
    return job_main(argc, argv, run);
}
