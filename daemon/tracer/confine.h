/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A tracer drops what it does not use. Its capabilities it does: each is needed to trace
 * (docs/architecture.md). But it executes no program, connects to nobody, makes, renames and
 * removes no file, becomes nobody else and changes nothing of the system, so those system calls
 * fail with EPERM from here on, for it and its children; and no exec would give it more than it
 * has. A tracer reads what a hostile program has laid out for it. What is done through io_uring,
 * which lastwait.h needs, no filter sees. */

/* 0, or a negative errno, where the kernel has no filters. */
int confine_self(void);
