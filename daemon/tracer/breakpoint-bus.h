/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

struct breakpoint_options;
struct process_object;
struct quota_user;

/* The methods of Process that are about breakpoints; process-bus.c has them in its table. */

/* breakpoint-bus.c */
int breakpoint_method_add(sd_bus_message *m, void *userdata, sd_bus_error *error);
int breakpoint_method_remove(sd_bus_message *m, void *userdata, sd_bus_error *error);
int breakpoint_method_list(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* options-breakpoint.c: reads the options, the kind and the address being known already. What they
 * name, a thread or a register, is one of the process's. */
int options_read_breakpoint(sd_bus_message *m, const struct process_object *o,
                            struct breakpoint_options *ret, sd_bus_error *error);

/* explain-breakpoint.c: turns a failure of breakpoint_add() into an error for people. Returns its
 * negative errno. */
int explain_breakpoint(sd_bus_error *error, int failure, const struct breakpoint_options *o,
                       pid_t pid, const struct quota_user *quota);
/* The other way round: a descriptor that writes memory would overwrite breakpoints. */
int explain_writer(sd_bus_error *error, pid_t pid);
