/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/tracer/objects.h"

struct process;
struct tracer;

/* The methods of Process that are about memory. process-bus.c has them in its table; they need no
 * thread to stand. */

/* memory-bus.c */
int memory_method_read(sd_bus_message *m, void *userdata, sd_bus_error *error);
int memory_method_read_ranges(sd_bus_message *m, void *userdata, sd_bus_error *error);
int memory_method_write(sd_bus_message *m, void *userdata, sd_bus_error *error);
int memory_method_read_fd(sd_bus_message *m, void *userdata, sd_bus_error *error);
int memory_method_open(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* snapshot-bus.c */
int snapshot_method_take(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* files-bus.c */
int files_method_open_maps(sd_bus_message *m, void *userdata, sd_bus_error *error);
int files_method_read_maps(sd_bus_message *m, void *userdata, sd_bus_error *error);
int files_method_open_mapped_file(sd_bus_message *m, void *userdata, sd_bus_error *error);
int files_method_read_mapped_file(sd_bus_message *m, void *userdata, sd_bus_error *error);
int files_method_read_auxv(sd_bus_message *m, void *userdata, sd_bus_error *error);
int files_method_get_command_line(sd_bus_message *m, void *userdata, sd_bus_error *error);
int files_property_entry_point(sd_bus *bus, const char *path, const char *interface,
                               const char *property, sd_bus_message *reply, void *userdata,
                               sd_bus_error *error);

/* What both files share: memory-common.c */

/* The process whose object a message is for. */
int memory_find(sd_bus_message *m, struct tracer *t, struct process **ret, sd_bus_error *error);

/* Turns a failure to get at a process's memory into an error for people. `what` is what could not
 * be done: "read memory at 0x1000". Returns its negative errno. */
int memory_explain(sd_bus_error *error, int failure, pid_t pid, const char *what);
/* Error.LimitExceeded, with the limit's name. */
int memory_explain_limit(sd_bus_error *error, const char *method, const char *limit, uint64_t max,
                         const char *of_what, const char *remedy);
/* 0, or InvalidArgs where there is nothing to do or it wraps around. */
int memory_check_range(uint64_t address, uint64_t size, sd_bus_error *error);

int memory_reply_bytes(sd_bus_message *m, const void *bytes, size_t size);
/* Takes the descriptor over. */
int memory_reply_fd(sd_bus_message *m, int fd);
/* The same. The broker, which has asked whether it may be opened, is first told what the process
 * executes now: there may have been an exec of which nobody has heard yet. */
int memory_reply_opened(sd_bus_message *m, struct tracer *t, int fd);
