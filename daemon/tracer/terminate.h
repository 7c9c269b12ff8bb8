/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct tracer;

/* SIGTERM and SIGINT release everything, as the keeper's order does. Negative errno. */
int terminate_watch(struct tracer *t);
