/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

/* The little that the broker reads about processes itself. Everybody may read it, and no process
 * can hold it up. */

/* -ESRCH: no such process; -EINVAL: it is a thread of one. Other errnos of pidfd_open(2). */
int process_open(pid_t pid, int *ret_pidfd);

/* The process that a pidfd names, in our pid namespace. -EBADF: it isn't one; -ESRCH: the process
 * is gone, or not in our namespace. */
int process_of_pidfd(int pidfd, pid_t *ret);
