/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

struct context;

/* pkttyagent(1), which shows polkit's questions on a terminal where no agent of a desktop does.
 * There is one at a time. */

/* Lets the service ask; and starts an agent where it may have something to ask about tracing these
 * processes, and somebody who can answer sits at a terminal. Where none can be started polkit
 * refuses what it would have asked about. n_pids 0: a program that is yet to be started. */
void agent_open(const struct context *c, const pid_t *pids, size_t n_pids);

/* The same for what is other users', or the administrator's: limits. */
void agent_open_to_manage(const struct context *c);

/* Ends it and gives the terminal back as it was, which a signal that ends ptracectl does too. */
void agent_close(void);
