/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client/ctl/json.h"
#include "client/lib/ptraced/ptraced.h"

/* Writes events: as lines for people, with the time since the first one, or as JSON. */

struct event_printer {
    FILE *out;
    enum json_mode json;
    bool colour;
    bool started;
    uint64_t origin; /* usec of the first event */
    int width;       /* of the widest PID/TID so far */
};

/* `out` stays the caller's. Colour is used on a terminal, unless NO_COLOR is set. */
void event_printer_init(struct event_printer *p, FILE *out, enum json_mode mode);

void event_print(struct event_printer *p, const ptraced_event *e);

/* Parts of it, for those who print more than events: one event as a JSON value, and its kind and
 * details in words, without a line's end. */
void event_write_json(struct json *j, const ptraced_event *e);
void event_print_words(FILE *out, const ptraced_event *e);
