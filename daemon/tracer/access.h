/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include <systemd/sd-bus.h>

struct filter;
struct tracer;

/* What a session that only observes a process cannot do. The broker has authorised observing; here
 * is where it holds. */

/* Sees every message before the objects do. */
int access_add(struct tracer *t, sd_bus *bus);

/* Whether a filter is for control alone: with the kind `seccomp`, system calls are executed that
 * fail without it. */
bool access_takes_control(const struct filter *f);

/* For what is refused further in: Error.NotPermitted, and its negative errno. */
int access_refuse(sd_bus_message *m, sd_bus_error *error);

/* An observer holds a thread: it is let go in time (daemon/trace/observe.h). To be called between
 * two turns of the loop, which has to prepare its event loop anew. */
int access_watch_holds(struct tracer *t);
