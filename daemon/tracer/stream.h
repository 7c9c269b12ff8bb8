/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "daemon/trace/event.h"

struct tracer;
struct tracer_session;

/* What goes to the broker without being asked for. A failure to send means that the broker has
 * gone, which its socket tells; so nothing is returned. */

/* Whether a flush would send anything of the session: without credit, events wait. */
bool stream_has_output(const struct tracer_session *s);

/* The count of lost events, if it has changed: who empties the queue finds it complete. */
void stream_tell_lost(struct tracer *t, struct tracer_session *s);

/* A TakeEvent has found nothing: the next event of the session makes a Ready. */
void stream_want_ready(struct tracer_session *s);

/* Events of every session that may stream, Ready, Lost, Idle. */
void stream_flush(struct tracer *t);

/* The contract's name of a kind. */
const char *stream_kind_name(enum event_kind kind);

/* Appends an event in its D-Bus form. */
int stream_append(sd_bus_message *m, const struct tracer_session *s, const struct event *e);
