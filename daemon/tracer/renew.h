/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

struct pidref;
struct tracer;
struct tracer_session;

/* A grant for what a process has just executed is asked of the broker (daemon/trace/renew.h), with
 * the signal ExecAsks, and comes with the method Renew. Until then the session's calls for that
 * process are refused, but for Detach. Where no answer comes in time, it is no. */

int renew_add(struct tracer *t, sd_bus *bus);

/* False where there is nobody to ask. */
bool renew_ask(struct tracer_session *s, const struct pidref *process, uint32_t number,
               uint64_t usec_max);

/* The session traces the process no more. */
void renew_forget(struct tracer_session *s, pid_t pid);

/* The method of the broker's. */
int renew_method(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* The broker is gone: what it was asked it will not answer. */
void renew_flush(struct tracer *t);
