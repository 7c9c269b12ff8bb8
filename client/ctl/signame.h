/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#define SIGNAME_MAX 24u

/* Writes "SIGUSR1", "SIGRTMIN+3" or, for what is no signal, "signal 99" into the caller's buffer
 * and returns it. Thread-safe. */
char *signame(int signo, char buffer[static SIGNAME_MAX]);
