/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/names.h"
#include "client/ctl/kinds.h"
#include "client/ctl/macro.h"

static const char *const kind_names[] = {
#define X(id, name) [PTRACED_EVENT_##id] = name,
    PTRACED_EVENT_KINDS(X)
#undef X
};

_Static_assert(ELEMENTSOF(kind_names) == KINDS_MAX, "a kind is missing");

static int find(const char *word, size_t length)
{
    for (unsigned i = 0; i < KINDS_MAX; i++)
        if (strlen(kind_names[i]) == length && strncmp(kind_names[i], word, length) == 0)
            return (int)i;
    return -EINVAL;
}

int kinds_parse(const char *list, unsigned *mask, const char **ret_bad, size_t *ret_length)
{
    unsigned found = 0;

    for (const char *p = list;; p++) {
        size_t length = strcspn(p, ",");
        int kind = find(p, length);

        if (kind < 0) {
            *ret_bad = p;
            *ret_length = length;
            return kind;
        }
        found |= KIND_BIT(kind);
        p += length;
        if (*p == '\0')
            break;
    }
    *mask |= found;
    return 0;
}

const char **kinds_names(unsigned mask, const char *names[static KINDS_MAX + 1])
{
    size_t n = 0;

    for (unsigned i = 0; i < KINDS_MAX; i++)
        if (mask & KIND_BIT(i))
            names[n++] = kind_names[i];
    names[n] = NULL;
    return n > 0 ? names : NULL;
}

const char *kinds_all(void)
{
#define X(id, name) ", " name
    static const char all[] = PTRACED_EVENT_KINDS(X);
#undef X
    return all + 2;
}
