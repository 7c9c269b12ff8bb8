/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Methods of Manager: what the limits are and how far they are used, and to set one until the
 * broker ends. `userdata` is the broker. */

int limits_bus_list(sd_bus_message *m, void *userdata, sd_bus_error *error);
int limits_bus_set(sd_bus_message *m, void *userdata, sd_bus_error *error);
