/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <sys/uio.h>

struct broker;

/* One structured entry of the journal. */

#define AUDIT_FIELDS_MAX 16u

struct audit_entry {
    struct iovec fields[AUDIT_FIELDS_MAX];
    size_t n;
    int level;
};

/* `id`: a MESSAGE_ID; `level`: as of syslog(3). */
void audit_entry_begin(struct audit_entry *e, const char *id, int level);

/* KEY=value. Without memory for it the entry is shorter. */
void audit_entry_add(struct audit_entry *e, const char *format, ...)
    __attribute__((__format__(__printf__, 2, 3)));

/* Writes it, the message last, and frees what it holds. */
void audit_entry_finish(struct audit_entry *e, struct broker *b, const char *format, ...)
    __attribute__((__format__(__printf__, 3, 4)));
