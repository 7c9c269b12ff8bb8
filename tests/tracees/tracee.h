/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* What the tracees share. A tracee is a tiny program in one situation, which its name tells. It
 * says "ready" on its standard output once the situation is there, then obeys lines from its
 * standard input ("report", "go", "quit"), whose end ends it too. It dies with its parent, so that
 * a test that was killed leaves nothing behind; TRACEE_OUTLIVES_PARENT in the environment prevents
 * that. */

/* The first call of every tracee, and of every child that it forks. */
void tracee_start(void);

/* Writes one line to standard output, at once. */
__attribute__((format(printf, 1, 2))) void tracee_say(const char *format, ...);

/* Waits for a line; false at the end of standard input or at "quit". Signals don't disturb it. The
 * line is without its newline. */
bool tracee_listen(char line[static 64]);

/* Says what failed and why (errno), and exits with 99, which no test takes for a result. */
__attribute__((noreturn)) void tracee_fail(const char *what);

/* pthread_create() with a small stack; on failure the tracee fails. */
pthread_t tracee_thread(void *(*function)(void *), void *argument);

/* The number in argument i, or a default where there is none. */
unsigned long tracee_number(int argc, char **argv, int i, unsigned long otherwise);

/* usleep() without its limit of a second, that goes on after a signal. */
void tracee_sleep_usec(unsigned long usec);
