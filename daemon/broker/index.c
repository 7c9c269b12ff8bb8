/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker/index.h"

size_t index_lower_bound(const struct index *ix, uint64_t key)
{
    size_t low = 0, high = ix->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ix->items[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int make_room(struct index *ix)
{
    size_t allocated = ix->allocated ? ix->allocated * 2 : 16;
    struct index_item *items;

    if (ix->n < ix->allocated)
        return 0;
    items = reallocarray(ix->items, allocated, sizeof(*items));
    if (!items)
        return -ENOMEM;
    ix->items = items;
    ix->allocated = allocated;
    return 0;
}

int index_add(struct index *ix, uint64_t key, void *value)
{
    size_t at;
    int r;

    r = make_room(ix);
    if (r < 0)
        return r;

    at = index_lower_bound(ix, key);
    while (index_has(ix, at, key))
        at++;
    memmove(ix->items + at + 1, ix->items + at, (ix->n - at) * sizeof(*ix->items));
    ix->items[at] = (struct index_item){.key = key, .value = value};
    ix->n++;
    return 0;
}

void index_remove(struct index *ix, uint64_t key, const void *value)
{
    for (size_t i = index_lower_bound(ix, key); index_has(ix, i, key); i++) {
        if (ix->items[i].value != value)
            continue;
        ix->n--;
        memmove(ix->items + i, ix->items + i + 1, (ix->n - i) * sizeof(*ix->items));
        return;
    }
}

void *index_find(const struct index *ix, uint64_t key)
{
    size_t at = index_lower_bound(ix, key);

    return index_has(ix, at, key) ? ix->items[at].value : NULL;
}

void index_done(struct index *ix)
{
    free(ix->items);
    *ix = (struct index){0};
}
