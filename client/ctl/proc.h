/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* What everybody may read in /proc. Negative errno; -ESRCH where the process is gone. */

struct proc_status {
    char state; /* R, S, D, T, t, Z, X, I */
    pid_t tracer;
    uid_t uid;     /* real */
    pid_t process; /* that it is a thread of, or itself */
    bool kernel_thread;
};

int proc_read_status(pid_t pid, struct proc_status *ret);

/* The name of a thread, escaped; NULL where it cannot be read. The caller frees it. */
char *proc_comm(pid_t pid, pid_t tid);

/* kernel.yama.ptrace_scope: 0 to 3; -ENOENT where there is no Yama. */
int proc_yama_scope(void);
