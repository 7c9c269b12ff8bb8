/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/broker/index.h"
#include "daemon/broker/list.h"

/* Files of memory that users keep: ReadMemoryFD and Snapshot answer with a memfd, which takes
 * memory of the service's for as long as anybody has a descriptor or a mapping of it, the tracer
 * and the session that it came from notwithstanding.
 *
 * A watch of inotify(7) holds neither. A memfd has no name, so with the last descriptor and mapping
 * its inode goes, and the watch with it, which the kernel tells. A file that is passed on is
 * watched until then, wherever it is: in our queue, in the bus, or with whom the client gave it to.
 *
 * All is in MiB, begun ones too: no file counts less than one, so that nobody can have all watches
 * that the kernel grants the service's user. */

struct kept {
    sd_event *event; /* the owner's */
    sd_event_source *source;
    int inotify; /* the source's; -1: nothing has been watched yet */
    struct index files;
    struct list users;
    bool unsure; /* the kernel had no room to tell of all that are gone */
};

void kept_init(struct kept *k, sd_event *event);
void kept_done(struct kept *k);

/* Nobody keeps any. */
bool kept_is_empty(const struct kept *k);

/* What a user keeps, and the one that keeps the most. */
uint64_t kept_count(struct kept *k, uid_t uid);
uint64_t kept_count_most(struct kept *k);

/* What the file that a call asks for takes at the most; 0: it asks for none. */
unsigned kept_measure_call(sd_bus_message *call);

/* 0 where a user may have so much more, beside what is under way to him; else Error.LimitExceeded.
 */
int kept_check(struct kept *k, uid_t uid, unsigned under_way, unsigned more, sd_bus_error *error);

/* Counts the file in an answer, before that is passed on; errors as above, and where it cannot be
 * watched. */
int kept_add(struct kept *k, uid_t uid, unsigned under_way, sd_bus_message *answer,
             sd_bus_error *error);
