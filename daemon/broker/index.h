/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Finds objects by number: an array sorted by key, which may hold several values of one key (in the
 * order in which they were added). Numbers mostly come in rising order, and there are few thousands
 * of them at the most, so that an insertion seldom moves much. All zero is an empty index. */

struct index_item {
    uint64_t key;
    void *value;
};

struct index {
    struct index_item *items;
    size_t n;
    size_t allocated;
};

/* -ENOMEM, or 0. */
int index_add(struct index *ix, uint64_t key, void *value);

/* Does nothing where it isn't there. */
void index_remove(struct index *ix, uint64_t key, const void *value);

/* The position of the first item whose key is not smaller, which is n where there is none. */
size_t index_lower_bound(const struct index *ix, uint64_t key);

/* The first value of that key, or NULL. */
void *index_find(const struct index *ix, uint64_t key);

/* Frees what the index owns, which is not the values. */
void index_done(struct index *ix);

/* Whether there is an item at that position, and it has that key: to go through the values of one.
 */
static inline bool index_has(const struct index *ix, size_t i, uint64_t key)
{
    return i < ix->n && ix->items[i].key == key;
}
