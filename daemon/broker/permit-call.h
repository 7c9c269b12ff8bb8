/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

/* What kind of permission a call may take (permit.h), as the message alone tells. Pure. */

struct permits;

bool permit_call_is_list(sd_bus_message *m);

/* What a session traces is let go. */
bool permit_call_ends(sd_bus_message *m);

/* Of a session: ends it, or looks at its properties. */
bool permit_call_manages(sd_bus_message *m);

/* One that there is, to a value that it can have: nobody is asked about what cannot be done.
 * *ret_name is the message's. */
bool permit_call_sets_limit(sd_bus_message *m, const char **ret_name, uint64_t *ret_value);

bool permit_call_opens_memory(sd_bus_message *m);

/* What polkit is told of it. Of OpenMemory its mode; one that it has not will be refused. */
const char *permit_call_access(sd_bus_message *m, const struct permits *wanted);
