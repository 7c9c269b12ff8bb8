/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

struct broker;
struct session;
struct tracer;

/* What polkit allowed as `-other` was for one program. When its process executes the next, within
 * the same rights, the tracer keeps it in its exec stop and asks (daemon/tracer/renew.h):
 *
 *     -> Inspect, by the keeper: what it is now
 *     -> the question to polkit, without a dialog, for each connection that was authorised for it
 *     -> Renew, by the tracer
 *
 * Who may not, has nothing of it any more. The session keeps it where one of those may that could
 * do all that it does there. Nobody waits for long: the program does. */

/* The tracer's signal. */
int renew_on_exec_asks(struct tracer *t, struct session *s, sd_bus_message *m);

/* Ends them all, unanswered: for the end of the broker, when the keeper is asked nothing more. */
void renewals_drop(struct broker *b);
