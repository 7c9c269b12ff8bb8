/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

struct process;

/* A caller proves that the kernel would let it trace a process: with its own open /proc/PID/mem,
 * for reading where it will observe, for writing too where it will control. To open that takes what
 * ptrace(2) takes (fs/proc/base.c:proc_mem_open(), PTRACE_MODE_ATTACH), Yama, security modules and
 * namespaces included, and the kernel has judged it of the caller.
 *
 * The descriptor has to be of this very process: device and inode of it are those of ours, for as
 * long as one of the two is open. And of the program that it executes now, for a descriptor stays
 * with the memory that it was opened for: the 16 random bytes that the kernel gives each program
 * (AT_RANDOM) have to be the same through both. A vfork child's memory is its parent's, which
 * outlives the child's exec, and could be read still.
 *
 * To be asked after the process was seized: an exec from then on is judged in its exec stop. 0;
 * -ENOKEY: it is no proof; -EKEYREJECTED: it has executed what a session may not trace, and stands
 * in the exec stop; other errors: there is no telling. */
int proof_check(const struct process *p, int fd, bool observe);
