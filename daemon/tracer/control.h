/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct tracer;

/* Listens to the keeper's orders (daemon/keeper/control.h). */
int control_watch(struct tracer *t);
