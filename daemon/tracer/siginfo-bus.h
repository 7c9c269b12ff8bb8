/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Thread.GetSignalInfo and SetSignalInfo. */
int method_get_signal_info(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_set_signal_info(sd_bus_message *m, void *userdata, sd_bus_error *error);
