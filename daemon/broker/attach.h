/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/broker/list.h"
#include "daemon/broker/target.h"

struct broker;
struct caller;
struct session;
struct tracee;

/* A request to attach, from the call to its answer:
 *
 *     a pidfd (of the keeper, where a thread was named)
 *     -> Inspect, by the keeper: may this be traced at all?
 *     -> the tracer that holds the process, or TakeTracer
 *     -> OpenSession and Attach, by the tracer
 *
 * The whole has one time-out. The chain itself goes on after it, and after the caller has left:
 * what is attached for nobody is detached again. */
struct attach {
    struct list attaches; /* of the broker */
    struct list of_caller;
    struct list of_tracee; /* while another request fetches the tracer */
    struct broker *broker;
    struct session *session;
    struct caller *caller; /* NULL: it has left */
    sd_bus_message *call;
    bool answered;
    bool at_tracer; /* it is the tracer that we wait for */
    sd_event_source *timer;

    int pidfd;
    pid_t tid; /* 0: the whole process */
    struct target target;
    struct tracee *tracee;
};

/* Methods of Session: read the call, check it, and answer it later. */
int attach_process(struct session *s, struct caller *c, sd_bus_message *call, sd_bus_error *error);
int attach_process_fd(struct session *s, struct caller *c, sd_bus_message *call,
                      sd_bus_error *error);
int attach_thread(struct session *s, struct caller *c, sd_bus_message *call, sd_bus_error *error);

/* Starts the chain. Takes the pidfd in any case; -1: the keeper finds the process of the thread. 1
 * when the call will be answered later. */
int attach_begin(struct session *s, struct caller *c, sd_bus_message *call, int pidfd, pid_t tid,
                 sd_bus_error *error);

/* The caller has left. */
void attach_abandon(struct attach *a);
