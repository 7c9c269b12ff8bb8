/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <sys/types.h>

/* The only file that calls ptrace(2). Every call returns 0 or a negative errno and must come from
 * the thread that attached: the kernel compares callers by thread. -ESRCH is a normal answer: the
 * thread is gone, or is not stopped (any more); only a wait tells which. */

int ptrace_ops_seize(pid_t tid, unsigned long options);
int ptrace_ops_interrupt(pid_t tid);
int ptrace_ops_cont(pid_t tid, int signo);
int ptrace_ops_listen(pid_t tid);
int ptrace_ops_detach(pid_t tid, int signo);
int ptrace_ops_get_event_message(pid_t tid, unsigned long *ret);
int ptrace_ops_get_siginfo(pid_t tid, siginfo_t *ret);
int ptrace_ops_set_siginfo(pid_t tid, const siginfo_t *info);
