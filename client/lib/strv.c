/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "client/lib/strv.h"

bool strv_contains(const char *const *strings, const char *s)
{
    for (; strings && *strings; strings++)
        if (strcmp(*strings, s) == 0)
            return true;
    return false;
}

bool strv_includes(const char *const *strings, const char *const *others)
{
    for (; others && *others; others++)
        if (!strv_contains(strings, *others))
            return false;
    return true;
}

static size_t count(const char *const *strings)
{
    size_t n = 0;

    while (strings && strings[n])
        n++;
    return n;
}

char **strv_union(const char *const *strings, const char *const *more)
{
    size_t n = count(strings), all = n + count(more), used = 0;
    char **copy = calloc(all + 1, sizeof(*copy));

    if (!copy)
        return NULL;
    for (size_t i = 0; i < all; i++) {
        const char *s = i < n ? strings[i] : more[i - n];

        if (i >= n && strv_contains(strings, s))
            continue;
        copy[used] = strdup(s);
        if (!copy[used++])
            return strv_free(copy);
    }
    return copy;
}

char **strv_copy(const char *const *strings)
{
    return strv_union(strings, NULL);
}

char **strv_free(char **strings)
{
    for (char **s = strings; s && *s; s++)
        free(*s);
    free(strings);
    return NULL;
}

void strv_freep(char ***strings)
{
    *strings = strv_free(*strings);
}
