/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* Making processes in somebody else's program. That may have threads, so between fork and exec only
 * async-signal-safe functions are called, and everything else is prepared before. */

/* As fork(2), with the child's pidfd: 0 in the child, negative errno. `exit_signal` is what the
 * parent is sent at its end; 0 hides the child from the waits and signal handlers of the program.
 * No atfork handler runs, and nothing of the C library that knows its own thread id may be used in
 * the child. */
pid_t fork_pidfd(int exit_signal, int *ret_pidfd);

/* Reaps a child, of whatever exit signal. Children that the program reaps itself are no failure. */
void reap_pidfd(int pidfd);

/* Sends SIGKILL to a child. */
void kill_child(pid_t pid, int pidfd);

/* Block every signal, so that no handler of the program runs in the child. */
void signals_block(sigset_t *ret_before);
void signals_restore(const sigset_t *before);

/* In the child: handlers, which exec will reset anyway, become the default before that, and what is
 * ignored stays so or becomes the default too. Async-signal-safe. */
void signals_reset(bool keep_ignored);

/* In the parent: moves a descriptor out of the way of the numbers that the child will give away. */
#define FD_OUT_OF_THE_WAY 10
int fd_move_away(int *fd);

/* A copy there, closed at exec. */
int fd_copy_away(int fd);

/* Closes every descriptor from `first` on. Async-signal-safe. */
void fds_close_from(int first);
