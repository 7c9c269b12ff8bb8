/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include <systemd/sd-bus.h>

/* Of a process that has just executed what a grant is asked for. */
#define EXPLAIN_ASKED_TEXT                                                                         \
    "Process %d has just executed another program, which polkit is asked about; try again"

/* Turns a failure to attach into an error for people: what failed, on which process, why, and what
 * to do. For EPERM it finds out which of the kernel's reasons it was. Returns the error's negative
 * errno, as sd_bus_error_setf() does. */
int explain_attach(sd_bus_error *error, int failure, pid_t pid, pid_t tid);
