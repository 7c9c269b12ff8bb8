/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* A process, never a bare number: the pid together with a pidfd, which names the same process for
 * as long as it is open. */
struct pidref {
    pid_t pid;
    int fd;
};

#define PIDREF_NULL ((struct pidref){.pid = 0, .fd = -1})

/* From a number. -ESRCH: no such process; -EINVAL or -ENOENT: a thread that leads no group. */
int pidref_open(pid_t pid, struct pidref *ret);

/* From a pidfd, which stays the caller's: it is duplicated. -ESRCH: the process has been reaped;
 * -EBADF: not a pidfd. */
int pidref_from_fd(int fd, struct pidref *ret);

/* Whether the process still is, as a zombie too: until it is reaped its pid names no other. */
bool pidref_exists(const struct pidref *p);

/* Whether a thread id is one of the process's own now (tgkill(2) compares the two before anything
 * else). Of a process that exists, see above. */
bool pidref_has_thread(const struct pidref *p, pid_t tid);

/* pidfd_send_signal(2). */
int pidref_signal(const struct pidref *p, int signo);

/* Accepts PIDREF_NULL. */
void pidref_done(struct pidref *p);
