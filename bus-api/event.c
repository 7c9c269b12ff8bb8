/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/event.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"

static struct ptraced_detail *add(struct ptraced_event_record *e, const char *key, char type)
{
    struct ptraced_detail *d;

    if (e->n_details == PTRACED_EVENT_DETAILS_MAX || strlen(key) > PTRACED_EVENT_KEY_MAX)
        return NULL;
    d = &e->details[e->n_details++];
    *d = (struct ptraced_detail){.type = type};
    strcpy(d->key, key);
    return d;
}

void ptraced_event_add_i(struct ptraced_event_record *e, const char *key, int32_t v)
{
    struct ptraced_detail *d = add(e, key, SD_BUS_TYPE_INT32);

    if (d)
        d->i = v;
}

void ptraced_event_add_u(struct ptraced_event_record *e, const char *key, uint32_t v)
{
    struct ptraced_detail *d = add(e, key, SD_BUS_TYPE_UINT32);

    if (d)
        d->u = v;
}

void ptraced_event_add_t(struct ptraced_event_record *e, const char *key, uint64_t v)
{
    struct ptraced_detail *d = add(e, key, SD_BUS_TYPE_UINT64);

    if (d)
        d->t = v;
}

void ptraced_event_add_x(struct ptraced_event_record *e, const char *key, int64_t v)
{
    struct ptraced_detail *d = add(e, key, SD_BUS_TYPE_INT64);

    if (d)
        d->x = v;
}

void ptraced_event_add_b(struct ptraced_event_record *e, const char *key, bool v)
{
    struct ptraced_detail *d = add(e, key, SD_BUS_TYPE_BOOLEAN);

    if (d)
        d->b = v;
}

static int add_owned(struct ptraced_event_record *e, const char *key, char type, const void *v,
                     size_t size, uint32_t n)
{
    struct ptraced_detail *d;
    void *copy = malloc(size > 0 ? size : 1);

    if (!copy)
        return -ENOMEM;
    if (size > 0)
        memcpy(copy, v, size);
    d = add(e, key, type);
    if (!d) {
        free(copy);
        return -ENOSPC;
    }
    d->owned = copy;
    d->n = n;
    return 0;
}

int ptraced_event_add_s(struct ptraced_event_record *e, const char *key, const char *v)
{
    return add_owned(e, key, SD_BUS_TYPE_STRING, v, strlen(v) + 1, 0);
}

int ptraced_event_add_numbers(struct ptraced_event_record *e, const char *key, const uint64_t *v,
                              uint32_t n)
{
    return add_owned(e, key, PTRACED_DETAIL_NUMBERS, v, n * sizeof(*v), n);
}

int ptraced_event_add_captures(struct ptraced_event_record *e, const char *key, const void *v,
                               uint32_t size)
{
    return add_owned(e, key, PTRACED_DETAIL_CAPTURES, v, size, size);
}

bool ptraced_detail_next_capture(const struct ptraced_detail *d, size_t *offset,
                                 struct ptraced_capture *ret, const uint8_t **ret_bytes)
{
    if (d->type != PTRACED_DETAIL_CAPTURES || d->n - *offset < sizeof(*ret))
        return false;
    memcpy(ret, d->captures + *offset, sizeof(*ret));
    if (ret->size > d->n - *offset - sizeof(*ret))
        return false;
    *ret_bytes = d->captures + *offset + sizeof(*ret);
    *offset += sizeof(*ret) + ret->size;
    return true;
}

void ptraced_detail_done(struct ptraced_detail *d)
{
    switch (d->type) {
    case SD_BUS_TYPE_STRING:
    case PTRACED_DETAIL_NUMBERS:
    case PTRACED_DETAIL_CAPTURES:
        free(d->owned);
        break;
    default:
        break;
    }
}

const struct ptraced_detail *ptraced_event_detail(const struct ptraced_event_record *e,
                                                  const char *key)
{
    for (unsigned i = 0; i < e->n_details; i++)
        if (strcmp(e->details[i].key, key) == 0)
            return &e->details[i];
    return NULL;
}

void ptraced_event_done(struct ptraced_event_record *e)
{
    for (unsigned i = 0; i < e->n_details; i++)
        ptraced_detail_done(&e->details[i]);
    e->n_details = 0;
}

static int append_numbers(sd_bus_message *m, const struct ptraced_detail *d)
{
    int r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv");

    if (r >= 0)
        r = sd_bus_message_append(m, "s", d->key);
    if (r >= 0)
        r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, "at");
    if (r >= 0)
        r = sd_bus_message_append_array(m, SD_BUS_TYPE_UINT64, d->numbers,
                                        d->n * sizeof(d->numbers[0]));
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_capture(sd_bus_message *m, const struct ptraced_capture *c, const uint8_t *bytes)
{
    int r = sd_bus_message_open_container(m, SD_BUS_TYPE_STRUCT, "uay");

    if (r >= 0)
        r = sd_bus_message_append(m, "u", c->argument);
    if (r >= 0)
        r = sd_bus_message_append_array(m, SD_BUS_TYPE_BYTE, bytes, c->size);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_captures(sd_bus_message *m, const struct ptraced_detail *d)
{
    struct ptraced_capture c;
    const uint8_t *bytes;
    size_t offset = 0;
    int r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv");

    if (r >= 0)
        r = sd_bus_message_append(m, "s", d->key);
    if (r >= 0)
        r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, "a(uay)");
    if (r >= 0)
        r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "(uay)");
    while (r >= 0 && ptraced_detail_next_capture(d, &offset, &c, &bytes))
        r = append_capture(m, &c, bytes);
    for (int i = 0; r >= 0 && i < 3; i++)
        r = sd_bus_message_close_container(m);
    return r;
}

static int append_detail(sd_bus_message *m, const struct ptraced_detail *d)
{
    switch (d->type) {
    case SD_BUS_TYPE_INT32:
        return sd_bus_message_append(m, "{sv}", d->key, "i", d->i);
    case SD_BUS_TYPE_UINT32:
        return sd_bus_message_append(m, "{sv}", d->key, "u", d->u);
    case SD_BUS_TYPE_UINT64:
        return sd_bus_message_append(m, "{sv}", d->key, "t", d->t);
    case SD_BUS_TYPE_INT64:
        return sd_bus_message_append(m, "{sv}", d->key, "x", d->x);
    case SD_BUS_TYPE_BOOLEAN:
        return sd_bus_message_append(m, "{sv}", d->key, "b", d->b);
    case PTRACED_DETAIL_NUMBERS:
        return append_numbers(m, d);
    case PTRACED_DETAIL_CAPTURES:
        return append_captures(m, d);
    case SD_BUS_TYPE_STRING:
        return sd_bus_message_append(m, "{sv}", d->key, "s", d->s);
    default:
        return -EINVAL;
    }
}

int ptraced_event_append(sd_bus_message *m, const struct ptraced_event_record *e)
{
    char path[PTRACED_PATH_MAX];
    int r;

    r = sd_bus_message_open_container(m, SD_BUS_TYPE_STRUCT, PTRACED_EVENT_CONTENTS);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "ttousb", e->serial, e->usec,
                              ptraced_path_process(path, e->session, e->pid), (uint32_t)e->tid,
                              e->kind, e->stopped);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    for (unsigned i = 0; i < e->n_details; i++) {
        r = append_detail(m, &e->details[i]);
        if (r < 0)
            return r;
    }
    r = sd_bus_message_close_container(m);
    if (r < 0)
        return r;
    return sd_bus_message_close_container(m);
}

static int read_numbers(sd_bus_message *m, const char *key, struct ptraced_event_record *e)
{
    const void *v;
    size_t size;
    int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, "at");

    if (r >= 0)
        r = sd_bus_message_read_array(m, SD_BUS_TYPE_UINT64, &v, &size);
    if (r >= 0)
        r = ptraced_event_add_numbers(e, key, v, (uint32_t)(size / sizeof(uint64_t)));
    if (r < 0 && r != -ENOSPC)
        return r;
    return sd_bus_message_exit_container(m);
}

static int read_capture(sd_bus_message *m, uint8_t **bytes, uint32_t *n)
{
    struct ptraced_capture c;
    const void *v;
    uint8_t *grown;
    size_t size;
    int r = sd_bus_message_read(m, "u", &c.argument);

    if (r >= 0)
        r = sd_bus_message_read_array(m, SD_BUS_TYPE_BYTE, &v, &size);
    if (r < 0)
        return r;
    c.size = (uint32_t)size;
    grown = realloc(*bytes, *n + sizeof(c) + size);
    if (!grown)
        return -ENOMEM;
    *bytes = grown;
    memcpy(grown + *n, &c, sizeof(c));
    if (size > 0)
        memcpy(grown + *n + sizeof(c), v, size);
    *n += (uint32_t)(sizeof(c) + size);
    return 0;
}

static int read_captures(sd_bus_message *m, const char *key, struct ptraced_event_record *e)
{
    uint8_t *bytes = NULL;
    uint32_t n = 0;
    int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, "a(uay)");

    if (r >= 0)
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "(uay)");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, SD_BUS_TYPE_STRUCT, "uay")) > 0) {
        r = read_capture(m, &bytes, &n);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    if (r >= 0)
        r = ptraced_event_add_captures(e, key, bytes, n);
    free(bytes);
    if (r < 0 && r != -ENOSPC)
        return r;
    r = sd_bus_message_exit_container(m);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* Stands inside a dict entry, behind its key. */
static int read_variant(sd_bus_message *m, const char *key, struct ptraced_event_record *e)
{
    const char *contents, *s;
    uint64_t t;
    int64_t x;
    uint32_t u;
    int32_t i;
    char type;
    int r, b;

    r = sd_bus_message_peek_type(m, &type, &contents);
    if (r < 0)
        return r;
    if (type != SD_BUS_TYPE_VARIANT)
        return -EBADMSG;

    if (strcmp(contents, "at") == 0)
        return read_numbers(m, key, e);
    if (strcmp(contents, "a(uay)") == 0)
        return read_captures(m, key, e);
    switch (strlen(contents) == 1 ? contents[0] : '\0') {
    case SD_BUS_TYPE_INT64:
        r = sd_bus_message_read(m, "v", "x", &x);
        if (r >= 0)
            ptraced_event_add_x(e, key, x);
        return r;
    case SD_BUS_TYPE_INT32:
        r = sd_bus_message_read(m, "v", "i", &i);
        if (r >= 0)
            ptraced_event_add_i(e, key, i);
        return r;
    case SD_BUS_TYPE_UINT32:
        r = sd_bus_message_read(m, "v", "u", &u);
        if (r >= 0)
            ptraced_event_add_u(e, key, u);
        return r;
    case SD_BUS_TYPE_UINT64:
        r = sd_bus_message_read(m, "v", "t", &t);
        if (r >= 0)
            ptraced_event_add_t(e, key, t);
        return r;
    case SD_BUS_TYPE_BOOLEAN:
        r = sd_bus_message_read(m, "v", "b", &b);
        if (r >= 0)
            ptraced_event_add_b(e, key, b);
        return r;
    case SD_BUS_TYPE_STRING:
        r = sd_bus_message_read(m, "v", "s", &s);
        if (r >= 0)
            r = ptraced_event_add_s(e, key, s);
        return r == -ENOSPC ? 0 : r;
    default:
        return sd_bus_message_skip(m, "v");
    }
}

static int read_details(sd_bus_message *m, struct ptraced_event_record *e)
{
    int r;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
        const char *key;

        r = sd_bus_message_read(m, "s", &key);
        if (r < 0)
            return r;
        r = read_variant(m, key, e);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

int ptraced_event_read(sd_bus_message *m, struct ptraced_event_record *ret)
{
    _cleanup_(ptraced_event_done) struct ptraced_event_record e = {0};
    struct ptraced_path path;
    const char *object, *kind;
    uint32_t tid;
    int r, stopped;

    r = sd_bus_message_enter_container(m, SD_BUS_TYPE_STRUCT, PTRACED_EVENT_CONTENTS);
    if (r <= 0)
        return r;
    r = sd_bus_message_read(m, "ttousb", &e.serial, &e.usec, &object, &tid, &kind, &stopped);
    if (r < 0)
        return r;
    if (ptraced_path_parse(object, &path) != PTRACED_PATH_PROCESS)
        return -EBADMSG;
    strcpy(e.session, path.session);
    e.pid = path.pid;
    e.tid = (pid_t)tid;
    e.stopped = stopped;
    snprintf(e.kind, sizeof(e.kind), "%s", kind);
    r = read_details(m, &e);
    if (r < 0)
        return r;
    r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;

    *ret = e;
    e.n_details = 0;
    return 1;
}
