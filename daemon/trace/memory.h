/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process;

/* The memory of a traced process, read and written while its threads run or stand, whichever.
 *
 * One /proc/PID/mem descriptor is kept for each process. It speaks of the memory that was the
 * process's when it was opened, so an exec makes it void: memory_forget(). The kernel writes
 * through it where the program itself may not (FOLL_FORCE, mm/memory.c:__access_remote_vm()), so
 * text is writable, and reads what is mapped PROT_NONE.
 *
 * A page that only userfaultfd(2) would bring is refused at once (the kernel reads without
 * FAULT_FLAG_ALLOW_RETRY, fs/userfaultfd.c:handle_userfault()); one of a FUSE file blocks the
 * caller until it arrives. */
struct memory {
    int fd;        /* -1: not opened yet */
    bool writable; /* the kernel let us open it for that */
    /* A descriptor that writes was given away since the last exec; it cannot be taken back, so no
     * breakpoint may be inserted. */
    bool lent_for_writing;
};

#define MEMORY_NULL ((struct memory){.fd = -1})

struct memory_range {
    uint64_t address;
    uint64_t size;
};

/* Every read and every write of a traced process's memory passes these two. They return how many of
 * the bytes were done: fewer than asked for where they met memory that is not there or may not be
 * touched. Where it is the first byte that is refused, an error: -EFAULT: no such memory (beyond
 * the address space too; size may reach over its end); -ESRCH: the process has no memory any more;
 * -EACCES, -EPERM: the kernel does not permit it; -ENOMEM. A size of 0 gives 0. */
ssize_t memory_read(struct process *p, uint64_t address, void *buffer, size_t size);
ssize_t memory_write(struct process *p, uint64_t address, const void *buffer, size_t size);

/* The memory as it is, breakpoints and all; for space.c, which puts them there. */
ssize_t memory_read_text(struct process *p, uint64_t address, void *buffer, size_t size);
ssize_t memory_write_text(struct process *p, uint64_t address, const void *bytes, size_t size);

/* The same to the memory of any process, whose leader lives. As far as it goes. */
void memory_write_of(pid_t pid, uint64_t address, const void *bytes, size_t size);

/* Reads ranges one after another into a new memfd, which nobody can change any more when it is
 * returned (all seals are set). It ends before the first byte that could not be read; *ret_done is
 * its size, 0 where nothing could. The descriptor becomes the caller's.
 * -ESRCH, -EACCES, -EPERM: as above, where that came first; -ENOMEM, -ENFILE, -ENOSPC. */
int memory_to_memfd(struct process *p, const struct memory_range *ranges, size_t n, int *ret_fd,
                    uint64_t *ret_done);

/* An empty memfd that can be sealed. */
int memory_new_memfd(void);

/* A descriptor of /proc/PID/mem of its own, to be given away: the kernel's own speed, and the
 * kernel's own view. Errors as of memory_read(). */
int memory_open(struct process *p, bool writable, int *ret_fd);

/* The memory has been replaced (by an exec) or is of no interest any more. */
void memory_forget(struct process *p);
