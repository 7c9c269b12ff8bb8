/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/lastwait.h"
#include "daemon/trace/macro.h"

/* Newer than the headers that this is built with may be. */
enum {
    OP_WAITID = 50,
    OP_FUTEX_WAIT = 51,
    FUTEX_SIZE_U32 = 0x02,
};

#define N_REQUESTS (LEDGER_LAST_WAITS + 2u)

/* What is mapped to hand the requests over. */
struct ring {
    int fd;
    struct io_uring_params params;
    uint8_t *queue; /* the submission ring */
    size_t queue_size;
    struct io_uring_sqe *requests;
    size_t requests_size;
    unsigned n;
};

static bool is_supported(int fd)
{
    const unsigned n = OP_FUTEX_WAIT + 1;
    _cleanup_free_ struct io_uring_probe *probe =
        calloc(1, sizeof(*probe) + n * sizeof(probe->ops[0]));

    if (!probe || syscall(SYS_io_uring_register, fd, IORING_REGISTER_PROBE, probe, n) < 0)
        return false;
    return probe->last_op >= OP_FUTEX_WAIT &&
           (probe->ops[OP_WAITID].flags & IO_URING_OP_SUPPORTED) &&
           (probe->ops[OP_FUTEX_WAIT].flags & IO_URING_OP_SUPPORTED);
}

static int ring_map(struct ring *r)
{
    const struct io_sqring_offsets *o = &r->params.sq_off;
    void *p;

    r->queue_size = o->array + r->params.sq_entries * sizeof(uint32_t);
    p = mmap(NULL, r->queue_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
    if (p == MAP_FAILED)
        return -errno;
    r->queue = p;
    r->requests_size = r->params.sq_entries * sizeof(struct io_uring_sqe);
    p = mmap(NULL, r->requests_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
    if (p == MAP_FAILED)
        return -errno;
    r->requests = p;
    return 0;
}

static void ring_unmap(struct ring *r)
{
    if (r->queue)
        munmap(r->queue, r->queue_size);
    if (r->requests)
        munmap(r->requests, r->requests_size);
}

static struct io_uring_sqe *add(struct ring *r, uint8_t opcode, uint8_t flags, int fd)
{
    uint32_t *array = (uint32_t *)(r->queue + r->params.sq_off.array);
    struct io_uring_sqe *request = &r->requests[r->n];

    memset(request, 0, sizeof(*request));
    request->opcode = opcode;
    request->flags = flags;
    request->fd = fd;
    array[r->n] = r->n;
    r->n++;
    return request;
}

static int submit(struct ring *r)
{
    uint32_t *tail = (uint32_t *)(r->queue + r->params.sq_off.tail);
    long n;

    __atomic_store_n(tail, r->n, __ATOMIC_RELEASE);
    n = syscall(SYS_io_uring_enter, r->fd, r->n, 0, 0, NULL, 0);
    return n < 0 ? -errno : n < (long)r->n ? -EIO : 0;
}

/* A request that holds its own ring is what the kernel finishes the ring's business for, early in
 * the exit, before PF_EXITING cancels everything (io_uring/io_uring.c:io_uring_files_cancel()). */
static void add_hook(struct ring *r)
{
    add(r, IORING_OP_POLL_ADD, 0, r->fd)->poll32_events = POLLPRI;
}

/* Where the sleep is cancelled, so is the chain; a wait that fails breaks nothing. */
static void add_chain(struct ring *r, struct ledger *l)
{
    struct io_uring_sqe *request = add(r, OP_FUTEX_WAIT, IOSQE_IO_LINK, FUTEX_SIZE_U32);

    request->addr = (uintptr_t)ledger_bell(l);
    request->addr3 = FUTEX_BITSET_MATCH_ANY;
    for (unsigned i = 0; i < LEDGER_LAST_WAITS; i++) {
        bool is_last = i + 1 == LEDGER_LAST_WAITS;

        request = add(r, OP_WAITID, is_last ? 0 : IOSQE_IO_HARDLINK, 0);
        request->len = P_ALL;
        request->file_index = WSTOPPED | WNOHANG | __WALL;
        request->addr2 = (uintptr_t)&ledger_last_waits(l)[i];
    }
}

int lastwait_arm(struct ledger *l, int *fd)
{
    struct ring ring = {0};
    int r;

    if (*fd >= 0)
        return 0;
    /* The descriptor is close-on-exec. */
    ring.fd = (int)syscall(SYS_io_uring_setup, N_REQUESTS, &ring.params);
    if (ring.fd < 0)
        return -errno;
    r = is_supported(ring.fd) ? ring_map(&ring) : -EOPNOTSUPP;
    if (r >= 0) {
        add_hook(&ring);
        add_chain(&ring, l);
        r = submit(&ring);
    }
    ring_unmap(&ring);
    if (r < 0) {
        close(ring.fd);
        return r;
    }
    *fd = ring.fd;
    return 0;
}

bool lastwait_ring(struct ledger *l)
{
    /* Not FUTEX_PRIVATE_FLAG: the memory is shared. */
    return syscall(SYS_futex, ledger_bell(l), FUTEX_WAKE, INT_MAX, NULL, NULL, 0) > 0;
}
