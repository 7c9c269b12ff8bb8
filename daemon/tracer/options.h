/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/trace/trace.h"

/* Read an a{sv} of options from a message. An unknown key, a wrong type and an unknown value are
 * errors that name them (InvalidOption). *ret keeps what no key changes. */

/* What AttachProcess asks for. */
struct attach_request {
    struct filter filter;
    bool filter_is_given; /* a key of the filter's was there */
    bool follow_threads;
    bool follow_children;
    bool all_stop;
    bool stop;
    bool observe;
    int proof; /* the message's; -1: none */
};

#define ATTACH_REQUEST_DEFAULT                                                                     \
    ((struct attach_request){.filter = FILTER_DEFAULT, .follow_threads = true, .proof = -1})

int options_read_attach(sd_bus_message *m, struct attach_request *ret, sd_bus_error *error);
int options_read_filter(sd_bus_message *m, struct filter *ret, sd_bus_error *error);

/* `one_thread`: what is for one thread alone (signal, range) may be there too. */
int options_read_continue(sd_bus_message *m, bool one_thread, struct continue_options *ret,
                          sd_bus_error *error);
/* Of Step: as those of Continue, but for mode. */
int options_read_step(sd_bus_message *m, struct continue_options *ret, sd_bus_error *error);
