/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/trace/procfs.h"

/* Facts about a process or thread that the unprivileged broker cannot read itself, free of pid
 * reuse: the pidfd names the same process before and after everything was read.
 *
 * Only files of /proc are read that no process can make block or fill with what it likes: status,
 * stat, comm and the links exe and ns/user. Nothing of the program's memory (mem, cmdline, environ)
 * and nothing that takes a lock which the process may hold through an execve (stack, syscall). */

struct inspection {
    pid_t pid;           /* the thread group */
    pid_t parent;        /* of the process */
    pid_t tracer;        /* 0: none that we can see */
    bool tracer_is_ours; /* a tracer of this keeper, or one of its repairs */
    uid_t uids[4];       /* real, effective, saved, file system */
    gid_t gids[4];
    uint64_t permitted;      /* capabilities */
    uint64_t user_namespace; /* inode; 0: unknown */
    uint64_t memory_device;  /* of /proc/PID/mem, which is not opened */
    uint64_t memory_inode;   /* 0: unknown */
    char comm[PROC_COMM_MAX];
    char tracer_comm[PROC_COMM_MAX]; /* "": no tracer, or one that has just gone */
    char *executable;                /* raw, as the kernel tells it; NULL: none, or not readable */
    bool dumpable;
    bool kernel_thread;
    bool zombie;
};

/* tid 0 means the process: its main thread, or where that has ended and the process has not, a
 * thread that lives, since the main thread's credentials are then out of date.
 *
 * -ESRCH: the process is gone; -ENXIO: tid is no thread of it; -EBADF: not a process's pidfd. */
int inspect(int pidfd, pid_t tid, struct inspection *ret);

/* Frees what it owns, not itself. Accepts one that is all zero. */
void inspection_done(struct inspection *i);

/* A pidfd of the process that a thread belongs to. -ESRCH: there is no such thread. */
int inspect_find_thread(pid_t tid, int *ret_pidfd);
