/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

struct attachment;
struct tracee;
struct tracer;
struct tracer_session;

/* The objects that a tracer serves to its broker: its own private one, and below
 * /org/ptraced/Tracer1/session the public Process and Thread objects. */
int objects_register(struct tracer *t, sd_bus *bus);

extern const sd_bus_vtable internal_vtable[];
extern const sd_bus_vtable process_vtable[];
extern const sd_bus_vtable thread_vtable[];

/* What a Process object stands on while one message is handled. */
struct process_object {
    struct tracer *tracer;
    struct tracer_session *session;
    struct attachment *attachment;
};

/* From a message's path to its objects. Where the path names none, the error says what is missing
 * and the function returns its errno. */
int objects_find_process(struct tracer *t, const char *path, struct process_object *ret,
                         sd_bus_error *error);
/* NotStopped, unless the session holds the thread in a stop. */
int objects_check_held(const struct process_object *o, const struct tracee *tracee,
                       sd_bus_error *error);
int objects_find_thread(struct tracer *t, const char *path, struct process_object *ret,
                        struct tracee **ret_tracee, sd_bus_error *error);
