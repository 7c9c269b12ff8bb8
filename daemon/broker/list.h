/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A ring of nodes that are embedded in what they list. An object may be on several lists, through a
 * node for each. A node that is all zero is on no list, and removing it again does nothing. */

struct list {
    struct list *prev;
    struct list *next;
};

static inline void list_init(struct list *head)
{
    head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_insert_before(struct list *where, struct list *node)
{
    node->prev = where->prev;
    node->next = where;
    where->prev->next = node;
    where->prev = node;
}

static inline void list_append(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void list_prepend(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void list_remove(struct list *node)
{
    if (!node->next)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
}

#define LIST_ITEM(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* The first item, or NULL. */
#define LIST_FIRST(head, type, member)                                                             \
    (list_empty(head) ? NULL : LIST_ITEM((head)->next, type, member))

/* Declares `item` and goes through the list. The body may remove the item from the list and free
 * it, but no other one. */
#define LIST_FOREACH(type, item, head, member)                                                     \
    for (type *item = LIST_ITEM((head)->next, type, member),                                       \
              *next_##item = LIST_ITEM(item->member.next, type, member);                           \
         &item->member != (head);                                                                  \
         item = next_##item, next_##item = LIST_ITEM(item->member.next, type, member))
