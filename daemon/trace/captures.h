/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/trace/event.h"
#include "daemon/trace/filter.h"

struct process;

/* Reads what a filter's captures for this system call point to, while the thread stands. `e` is the
 * event of the call's entry or exit, `arguments` are those that it was entered with. NULL where
 * nothing is to be captured, where nothing could be read, or when memory ran out: the event goes
 * without. A capture that meets memory that is not there ends before it. */
struct event_data *captures_take(struct process *p, const struct filter *f, const struct event *e,
                                 const uint64_t arguments[static 6]);

/* The capture at *offset of an event's data, and *offset moved behind it. NULL: that was the last.
 * *ret_bytes points into the data. */
const struct captured *captures_next(const struct event_data *d, size_t *offset,
                                     struct captured *ret, const uint8_t **ret_bytes);
