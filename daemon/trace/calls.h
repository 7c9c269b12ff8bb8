/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/trace.h"

/* At a syscall-enter-, syscall-exit- or seccomp-stop: tells the sessions what call it is. */
void calls_on_stop(struct trace *t, struct tracee *tracee);
