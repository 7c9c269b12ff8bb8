/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/broker/audit-entry.h"
#include "daemon/broker/broker.h"

void audit_entry_add(struct audit_entry *e, const char *format, ...)
{
    char *field;
    va_list ap;
    int n;

    if (e->n == AUDIT_FIELDS_MAX)
        return;
    va_start(ap, format);
    n = vasprintf(&field, format, ap);
    va_end(ap);
    if (n >= 0)
        e->fields[e->n++] = (struct iovec){field, (size_t)n};
}

void audit_entry_begin(struct audit_entry *e, const char *id, int level)
{
    *e = (struct audit_entry){.level = level};
    audit_entry_add(e, "MESSAGE_ID=%s", id);
}

void audit_entry_finish(struct audit_entry *e, struct broker *b, const char *format, ...)
{
    char *message; /* of any length: it has paths, and is not cut inside a character */
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&message, format, ap);
    va_end(ap);
    log_entry(&b->log, e->level, n < 0 ? "Out of memory for what is to be said" : message,
              e->fields, (int)e->n);
    if (n >= 0)
        free(message);
    for (size_t i = 0; i < e->n; i++)
        free(e->fields[i].iov_base);
}
