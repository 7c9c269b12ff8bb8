/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/broker/audit-entry.h"
#include "daemon/broker/broker.h"

/* A path may have 4,095 bytes, each of which may be escaped as four. */
#define AUDIT_MESSAGE_MAX 20000u

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
    char message[AUDIT_MESSAGE_MAX];
    size_t end = sizeof(message) - 1;
    va_list ap;

    va_start(ap, format);
    if (vsnprintf(message, sizeof(message), format, ap) > (int)end) {
        while (end > 0 && ((unsigned char)message[end - 1] & 0xc0) == 0x80)
            end--;
        message[end > 0 ? end - 1 : 0] = '\0'; /* no half of a character */
    }
    va_end(ap);
    log_entry(&b->log, e->level, message, e->fields, (int)e->n);
    for (size_t i = 0; i < e->n; i++)
        free(e->fields[i].iov_base);
}
