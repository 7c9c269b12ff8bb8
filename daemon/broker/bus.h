/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

struct broker;
struct session;

/* The objects that the broker itself serves. Each is added to the clients' bus once. */

int manager_bus_add(struct broker *b);
int session_bus_add(struct broker *b);
int log_control_add(struct broker *b);

/* ObjectManager, and the children that introspection shows. */
int objects_add(struct broker *b);

/* Appends the properties of a session, a{sv}. */
int session_bus_append_properties(struct session *s, sd_bus_message *m);
