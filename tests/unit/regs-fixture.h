/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <cmocka.h>

#include "daemon/trace/regs.h"

/* A child of the test, which traces it: a program of tests/tracees, or a function of the test. */
struct child {
    pid_t pid;
    FILE *out; /* what it says */
    char said[4096];
    bool avx;
    struct arch_xsave xsave;
};

/* The program has said its first line, "ready avx" or "ready sse". */
void child_start(struct child *c, const char *program);
void child_start_function(struct child *c, int (*function)(void));
void child_finish(struct child *c);

/* It stands when this returns. */
void child_interrupt(struct child *c);

/* A register of up to eight bytes. */
uint64_t child_number(struct regs *r, const char *name);
