/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

#define KIND_NAME(kind, name) [PTRACED_EVENT_##kind] = name,
static const char *const kind_names[] = {PTRACED_EVENT_KINDS(KIND_NAME)};
#undef KIND_NAME

static enum ptraced_event_kind kind_from_name(const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(kind_names); i++)
        if (strcmp(kind_names[i], name) == 0)
            return (enum ptraced_event_kind)i;
    return PTRACED_EVENT_UNKNOWN;
}

int event_new(struct ptraced_event_record *record, ptraced_event **ret)
{
    size_t details = record->n_details * sizeof(record->details[0]);
    ptraced_event *e;

    /* Only as large as its details: thousands of them may wait. */
    e = malloc(sizeof(*e) + details);
    if (!e)
        return -ENOMEM;
    *e = (ptraced_event){
        .n_ref = 1,
        .serial = record->serial,
        .usec = record->usec,
        .pid = record->pid,
        .tid = record->tid,
        .kind = kind_from_name(record->kind),
        .stopped = record->stopped,
        .n_details = record->n_details,
    };
    memcpy(e->kind_name, record->kind, sizeof(e->kind_name));
    memcpy(e->details, record->details, details);
    record->n_details = 0;
    *ret = e;
    return 0;
}

int event_read(sd_bus_message *m, ptraced_event **ret)
{
    _cleanup_(ptraced_event_done) struct ptraced_event_record record = {0};
    int r;

    r = ptraced_event_read(m, &record);
    if (r <= 0)
        return r;
    r = event_new(&record, ret);
    return r < 0 ? r : 1;
}

_public_ ptraced_event *ptraced_event_ref(ptraced_event *e)
{
    if (e)
        e->n_ref++;
    return e;
}

_public_ ptraced_event *ptraced_event_unref(ptraced_event *e)
{
    if (!e || --e->n_ref > 0)
        return NULL;
    for (unsigned i = 0; i < e->n_details; i++)
        ptraced_detail_done(&e->details[i]);
    free(e);
    return NULL;
}

_public_ void ptraced_event_unrefp(ptraced_event **e)
{
    *e = ptraced_event_unref(*e);
}

_public_ uint64_t ptraced_event_get_serial(const ptraced_event *e)
{
    return e->serial;
}

_public_ uint64_t ptraced_event_get_usec(const ptraced_event *e)
{
    return e->usec;
}

_public_ pid_t ptraced_event_get_pid(const ptraced_event *e)
{
    return e->pid;
}

_public_ pid_t ptraced_event_get_tid(const ptraced_event *e)
{
    return e->tid;
}

_public_ enum ptraced_event_kind ptraced_event_get_kind(const ptraced_event *e)
{
    return e->kind;
}

_public_ const char *ptraced_event_get_kind_name(const ptraced_event *e)
{
    return e->kind_name;
}

_public_ bool ptraced_event_get_stopped(const ptraced_event *e)
{
    return e->stopped;
}

static const struct ptraced_detail *find_detail(const ptraced_event *e, const char *key)
{
    for (unsigned i = 0; i < e->n_details; i++)
        if (strcmp(e->details[i].key, key) == 0)
            return &e->details[i];
    return NULL;
}

_public_ int ptraced_event_get_detail(const ptraced_event *e, const char *key, int64_t *ret)
{
    const struct ptraced_detail *d = find_detail(e, key);

    switch (d ? d->type : '\0') {
    case SD_BUS_TYPE_INT32:
        *ret = d->i;
        return 0;
    case SD_BUS_TYPE_UINT32:
        *ret = d->u;
        return 0;
    case SD_BUS_TYPE_UINT64:
        *ret = (int64_t)d->t;
        return 0;
    case SD_BUS_TYPE_INT64:
        *ret = d->x;
        return 0;
    case SD_BUS_TYPE_BOOLEAN:
        *ret = d->b;
        return 0;
    default:
        return -ENODATA;
    }
}

_public_ const char *ptraced_event_get_detail_string(const ptraced_event *e, const char *key)
{
    const struct ptraced_detail *d = find_detail(e, key);

    return d && d->type == SD_BUS_TYPE_STRING ? d->s : NULL;
}

_public_ int ptraced_event_get_detail_numbers(const ptraced_event *e, const char *key,
                                              const uint64_t **ret, size_t *ret_n)
{
    const struct ptraced_detail *d = find_detail(e, key);

    if (!d || d->type != PTRACED_DETAIL_NUMBERS)
        return -ENODATA;
    *ret = d->numbers;
    *ret_n = d->n;
    return 0;
}

_public_ int ptraced_event_get_capture(const ptraced_event *e, unsigned i, unsigned *ret_argument,
                                       const void **ret, size_t *ret_size)
{
    const struct ptraced_detail *d = find_detail(e, "captures");
    struct ptraced_capture c;
    const uint8_t *bytes;
    size_t offset = 0;

    do {
        if (!d || !ptraced_detail_next_capture(d, &offset, &c, &bytes))
            return -ENODATA;
    } while (i-- > 0);
    *ret_argument = c.argument;
    *ret = bytes;
    *ret_size = c.size;
    return 0;
}

_public_ const char *ptraced_event_get_detail_key(const ptraced_event *e, unsigned i,
                                                  char *ret_type)
{
    if (i >= e->n_details)
        return NULL;
    if (ret_type)
        *ret_type = e->details[i].type;
    return e->details[i].key;
}
