/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include <systemd/sd-bus.h>

/* sd_bus_message_copy(..., all = true) that takes an array of numbers in one piece: libsystemd
 * copies element by element, which for a megabyte of somebody's memory keeps the broker from
 * everybody else for long. Descriptors are duplicated. */
int copy_body(sd_bus_message *to, sd_bus_message *from);

/* The same; adds to `n_bytes` what the strings and the arrays of numbers hold, which is what makes
 * a message large. */
int copy_body_counted(sd_bus_message *to, sd_bus_message *from, size_t *n_bytes);
