/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts a detached thread with a stack small enough for many thousands of them. It never ends by
 * itself. -errno. Thread-safe. */
int thread_start(void *(*function)(void *), void *arg);
