/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The only file that calls ptrace(2). Every call returns 0 or a negative errno and must come from
 * the thread that attached: the kernel compares callers by thread. -ESRCH is a normal answer: the
 * thread is gone, or is not stopped (any more); only a wait tells which. */

int ptrace_ops_seize(pid_t tid, unsigned long options);
int ptrace_ops_interrupt(pid_t tid);
int ptrace_ops_cont(pid_t tid, int signo);
int ptrace_ops_syscall(pid_t tid, int signo);
int ptrace_ops_step(pid_t tid, int signo);
int ptrace_ops_block_step(pid_t tid, int signo); /* -EIO: not on this machine */
int ptrace_ops_listen(pid_t tid);
int ptrace_ops_detach(pid_t tid, int signo);
/* Of a thread that stands. */
int ptrace_ops_set_options(pid_t tid, unsigned long options);
int ptrace_ops_get_event_message(pid_t tid, unsigned long *ret);
int ptrace_ops_get_siginfo(pid_t tid, siginfo_t *ret);
int ptrace_ops_set_siginfo(pid_t tid, const siginfo_t *info);
/* Bit 0: signal 1. */
int ptrace_ops_get_sigmask(pid_t tid, uint64_t *ret);
int ptrace_ops_set_sigmask(pid_t tid, uint64_t mask);
/* The first of the signals that wait for this thread alone; returns how many were read. */
int ptrace_ops_peek_siginfo(pid_t tid, siginfo_t *ret, unsigned n);
/* What call the thread stands in, and at which end of it. */
struct __ptrace_syscall_info;
int ptrace_ops_get_syscall_info(pid_t tid, struct __ptrace_syscall_info *ret);

/* A register set, by its NT_* note. *size is the buffer's on the way in, and on the way out what
 * the kernel has filled, at the most that. -EINVAL: no such set, or no such buffer size (it has to
 * be a multiple of what the set is made of; 16 divides all of them); -ENODEV: not here. */
int ptrace_ops_get_regset(pid_t tid, uint32_t note, void *buffer, size_t *size);
/* -EINVAL and -EIO: the kernel does not take a value in it. Those before it are set by then. */
int ptrace_ops_set_regset(pid_t tid, uint32_t note, const void *buffer, size_t size);

/* A word of struct user, such as a debug register of x86. -EIO: no such word, or it refuses the
 * value; also all of them on machines without one. */
int ptrace_ops_peek_user(pid_t tid, size_t offset, unsigned long *ret);
int ptrace_ops_poke_user(pid_t tid, size_t offset, unsigned long word);
