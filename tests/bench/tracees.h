/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

/* The threads of a process in the hands of a raw loop. All functions return 0 or -errno. */

struct tracees {
    pid_t *tids;
    size_t n;
    size_t n_allocated;
};

/* Frees the list, not the threads. */
void tracees_done(struct tracees *t);

/* Seizes every thread that the process has now. The programs of these benches have all theirs by
 * then, but for the one that is about threads, which has them attached by the kernel. */
int tracees_seize(struct tracees *t, pid_t pid, unsigned long options);

/* Stops all of them and waits for each. */
int tracees_stop(struct tracees *t);

/* Goes on with all of them, which stand: a request such as PTRACE_CONT. */
int tracees_resume(struct tracees *t, int request);

/* Lets go of all of them, wherever they are. A stop that comes first is as good as the one that is
 * asked for. */
int tracees_release(struct tracees *t);

/* Waits for one stop, of any thread where tid is 0. -ESRCH: it reports its end. */
int tracees_wait(pid_t tid, siginfo_t *ret);
