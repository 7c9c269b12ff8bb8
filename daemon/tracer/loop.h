/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct tracer;

/* Serves tracees and requests until the tracer is to exit. Negative errno. */
int loop_run(struct tracer *t);
