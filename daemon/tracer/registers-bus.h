/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* The register part of Thread objects, for thread-bus.c's vtable. */

int registers_method_get(sd_bus_message *m, void *userdata, sd_bus_error *error);
int registers_method_set(sd_bus_message *m, void *userdata, sd_bus_error *error);
int registers_method_get_set(sd_bus_message *m, void *userdata, sd_bus_error *error);
int registers_method_set_set(sd_bus_message *m, void *userdata, sd_bus_error *error);

int registers_property_program_counter(sd_bus *bus, const char *path, const char *interface,
                                       const char *property, sd_bus_message *reply, void *userdata,
                                       sd_bus_error *error);
int registers_property_stack_pointer(sd_bus *bus, const char *path, const char *interface,
                                     const char *property, sd_bus_message *reply, void *userdata,
                                     sd_bus_error *error);
