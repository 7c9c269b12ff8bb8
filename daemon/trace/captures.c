/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "daemon/trace/captures.h"
#include "daemon/trace/memory.h"

/* Strings are read page by page, since they end where nobody knows and the page behind may not be
 * there. */
#define PAGE 4096u

static size_t read_string(struct process *p, uint64_t address, uint8_t *ret, size_t max)
{
    size_t n = 0;

    while (n < max) {
        size_t want = PAGE - (size_t)((address + n) % PAGE);
        const uint8_t *end;
        ssize_t k;

        if (want > max - n)
            want = max - n;
        k = memory_read(p, address + n, ret + n, want);
        if (k <= 0)
            break;
        end = memchr(ret + n, '\0', (size_t)k);
        if (end)
            return (size_t)(end - ret);
        n += (size_t)k;
        if ((size_t)k < want)
            break;
    }
    return n;
}

/* How many bytes a buffer has, by an argument of the call or its result. */
static uint64_t buffer_size(const struct capture *c, const struct event *e,
                            const uint64_t arguments[static 6])
{
    if (c->length_from != CAPTURE_RESULT)
        return arguments[c->length_from];
    return e->call.failed || e->call.result < 0 ? 0 : (uint64_t)e->call.result;
}

static size_t take_one(struct process *p, const struct capture *c, const struct event *e,
                       const uint64_t arguments[static 6], uint8_t *ret, size_t room)
{
    uint64_t address = arguments[c->argument];
    size_t size = c->size < room ? c->size : room;
    ssize_t n;

    if (address == 0)
        return 0;
    if (c->kind == CAPTURE_STRING)
        return read_string(p, address, ret, size);
    if (c->kind == CAPTURE_BUFFER && buffer_size(c, e, arguments) < size)
        size = (size_t)buffer_size(c, e, arguments);
    n = memory_read(p, address, ret, size);
    return n < 0 ? 0 : (size_t)n;
}

struct event_data *captures_take(struct process *p, const struct filter *f, const struct event *e,
                                 const uint64_t arguments[static 6])
{
    uint8_t bytes[CAPTURE_SIZE_MAX];
    struct event_data *d;
    size_t used = 0;

    for (unsigned i = 0; i < f->n_captures; i++) {
        const struct capture *c = &f->captures[i];
        struct captured head = {.argument = c->argument};

        if (c->number != e->call.number || c->at_exit != (e->kind == EVENT_SYSCALL_EXIT) ||
            sizeof(bytes) - used <= sizeof(head))
            continue;
        head.size = (uint32_t)take_one(p, c, e, arguments, bytes + used + sizeof(head),
                                       sizeof(bytes) - used - sizeof(head));
        memcpy(bytes + used, &head, sizeof(head));
        used += sizeof(head) + head.size;
    }
    if (used == 0)
        return NULL;
    d = event_data_new(used);
    if (d)
        memcpy(d->bytes, bytes, used);
    return d;
}

const struct captured *captures_next(const struct event_data *d, size_t *offset,
                                     struct captured *ret, const uint8_t **ret_bytes)
{
    if (!d || d->size - *offset < sizeof(*ret))
        return NULL;
    memcpy(ret, d->bytes + *offset, sizeof(*ret));
    *ret_bytes = d->bytes + *offset + sizeof(*ret);
    *offset += sizeof(*ret) + ret->size;
    return ret;
}
