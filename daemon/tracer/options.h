/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/trace/trace.h"

/* Read an a{sv} of options from a message. An unknown key, a wrong type and an unknown value are
 * errors that name them (InvalidOption). *ret keeps what no key changes. */
int options_read_attach(sd_bus_message *m, struct attach_options *ret, sd_bus_error *error);
int options_read_filter(sd_bus_message *m, struct attach_options *ret, sd_bus_error *error);

/* Options of Continue: none yet, so any key is an error. */
int options_read_continue(sd_bus_message *m, sd_bus_error *error);
