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

char **strv_copy(const char *const *strings, const char *more)
{
    size_t n = 0, i;
    char **copy;

    while (strings && strings[n])
        n++;
    copy = calloc(n + 2, sizeof(*copy));
    if (!copy)
        return NULL;
    for (i = 0; i < n + (more ? 1 : 0); i++) {
        copy[i] = strdup(i < n ? strings[i] : more);
        if (!copy[i])
            return strv_free(copy);
    }
    return copy;
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
