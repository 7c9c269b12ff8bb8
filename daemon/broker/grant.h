/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

struct attach;

/* What a session may trace at the most, told to the tracer with each attach
 * (PTRACED_GRANT_SIGNATURE; daemon/trace/grant.h says what it is for). The caller is there still.
 */
int grant_append(sd_bus_message *m, const struct attach *a);
