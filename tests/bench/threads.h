/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* Enough for a thread that only blocks, and small enough for many thousands of them. */
#define THREAD_STACK_SIZE (64u * 1024u)

/* Starts a detached thread with a stack of so many bytes. -errno. Thread-safe. */
int thread_start(void *(*function)(void *), void *arg, size_t stack_size);
