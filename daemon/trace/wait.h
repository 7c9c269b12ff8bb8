/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <sys/types.h>

/* The only file that calls waitid(2).
 *
 * A wait for one thread costs the same however many are traced. The wildcard walks over all of them
 * in the kernel (2 usec with 100, 323 with 10,000), so it only serves to learn who else is there.
 *
 * All return 1 when something was reported, 0 when there is nothing (WNOHANG), -ECHILD when there
 * is nobody to wait for, -EINTR when a signal handler ran. flags: WNOHANG, WNOWAIT. */

int wait_thread(pid_t tid, int flags, siginfo_t *ret);
int wait_any(int flags, siginfo_t *ret);
