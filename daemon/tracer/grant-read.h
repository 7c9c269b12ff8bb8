/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/trace/grant.h"

/* Reads a grant (PTRACED_GRANT_SIGNATURE) as the broker sends it. *ret is the caller's; NULL:
 * everything is granted. -ENOMEM, -EINVAL, or what sd_bus_message_read(3) says. */
int grant_read(sd_bus_message *m, struct grant **ret);
