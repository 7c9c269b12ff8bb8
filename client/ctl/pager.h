/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct options;

/* Shows what is printed on standard output in a pager: $SYSTEMD_PAGER, $PAGER, or less. */

struct pager {
    pid_t pid;     /* 0: there is none */
    int stdout_fd; /* where standard output went before */
};

/* Starts one where standard output is a terminal and neither the options nor the environment ("",
 * "cat") turn it off. Without one everything is printed as usual, which is no error. */
void pager_open(struct pager *p, const struct options *o);

/* Shows what has been printed, waits for the user to leave, and gives standard output back. */
void pager_close(struct pager *p);
