/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

struct attach;
struct target;

/* What a session may trace at the most, told to the tracer with each attach
 * (PTRACED_GRANT_SIGNATURE; daemon/trace/grant.h says what it is for). The caller is there still.
 */
int grant_append(sd_bus_message *m, const struct attach *a);

/* The same for what a process has executed, as polkit was asked about it; NULL: nothing. */
int grant_append_renewed(sd_bus_message *m, const struct target *t);
