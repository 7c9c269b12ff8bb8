/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What /proc says of a process or thread. Only files that no process can make block: status, stat,
 * statm, comm, task. All return 0 or a negative errno; -ESRCH: it is gone. */

struct proc_status {
    char state; /* R S D T t Z X ... */
    pid_t tgid;
    pid_t ppid;
    pid_t tracer;  /* 0: none */
    uid_t uids[4]; /* real, effective, saved, file system */
    gid_t gids[4];
    uint64_t pending;   /* signals, the thread's and the process's; bit 0: signal 1 */
    uint64_t permitted; /* capabilities */
};

/* Of any thread, by its number. */
int proc_read_status(pid_t tid, struct proc_status *ret);

/* Who traces it; 0: nobody, or it is gone. While a tracer lets go of a thread, the kernel shows the
 * thread's parent for a moment, which is not its tracer (kernel/ptrace.c: __ptrace_unlink() gives
 * it its parent back before it clears `ptrace`): measured, 1 of 1,700 reads of one that is attached
 * and let go all the time, and where the tracer loses its processor there, any number in a row. So
 * it is read until it stays the same, and each time after those that were at it are done. */
pid_t proc_read_tracer(pid_t tid);

struct proc_stat {
    char state;
    unsigned flags;      /* PF_* */
    long long exit_code; /* of a live thread: the stop that nobody has collected yet, else 0 */
};

#define PROC_FLAG_KTHREAD 0x00200000u /* PF_KTHREAD, include/linux/sched.h */

/* Of one thread of a process. A comm may hold spaces and parentheses: what counts is the last one.
 * exit_code is 0 for a caller that may not read it (PTRACE_MODE_READ). */
int proc_read_stat(pid_t pid, pid_t tid, struct proc_stat *ret);

/* The name as the thread set it: any bytes but NUL, at most 15, zero-terminated. */
#define PROC_COMM_MAX 16u
int proc_read_comm(pid_t tid, char ret[static PROC_COMM_MAX]);

/* The executable's path, PATH_MAX bytes at the most, not terminated. Returns its length. */
ssize_t proc_read_executable(pid_t pid, char *ret);

/* The inode of the user namespace of a thread; 0: unknown. */
uint64_t proc_read_user_namespace(pid_t pid, pid_t tid);

/* The path of what a thread executes, as proc_read_executable(): it changes with its memory
 * (fs/exec.c: exec_mmap()), and no file system is asked for it. */
ssize_t proc_read_program(pid_t pid, pid_t tid, char *ret);

/* Whether a thread is dumpable (prctl(2), PR_SET_DUMPABLE), with its status read before. The kernel
 * gives the files of a process that is not to root, those of another to the process's effective
 * user and group (fs/proc/base.c:task_dump_owner()). The directories that all may read, /proc/PID
 * itself among them, always belong to the latter, so a file is asked.
 *
 * A process of root and its group looks the same either way and is taken for dumpable: the flag
 * guards a process against others of its own user, and here that is root, whom nobody asks. */
bool proc_is_dumpable(pid_t pid, pid_t tid, const struct proc_status *status);

/* kernel.yama.ptrace_scope; 0 where there is no Yama. */
int proc_read_yama_scope(void);

/* Whether tid is a thread of pid now. */
bool proc_is_thread_of(pid_t pid, pid_t tid);

/* Whether a thread still has its process's memory: it gives that up before it becomes a zombie.
 * False for one that is gone. */
bool proc_has_memory(pid_t pid, pid_t tid);

/* Calls back with each thread of a process, until the callback returns something other than 0,
 * which is then returned. */
int proc_for_each_thread(pid_t pid, int (*callback)(pid_t tid, void *userdata), void *userdata);
