/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/introspect.h"
#include "daemon/broker/introspection.h"

static const struct {
    const char *path;
    const char *interface;
    const char *xml;
} objects[] = {
    {PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE, INTROSPECTION_MANAGER},
    {PTRACED_SESSION_PREFIX "/s1", PTRACED_SESSION_INTERFACE, INTROSPECTION_SESSION},
    {PTRACED_SESSION_PREFIX "/s1/process/1", PTRACED_PROCESS_INTERFACE, INTROSPECTION_PROCESS},
    {PTRACED_SESSION_PREFIX "/s1/process/1/thread/1", PTRACED_THREAD_INTERFACE,
     INTROSPECTION_THREAD},
    {"/org/freedesktop/LogControl1", "org.freedesktop.LogControl1", INTROSPECTION_LOG_CONTROL},
};

/* Whether two paths differ in nothing but numbers. */
static bool same_path(const char *a, const char *b)
{
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            a += strspn(a, "0123456789");
            b += strspn(b, "0123456789");
        } else if (*a++ != *b++)
            return false;
    }
    return *a == *b;
}

int introspect(const char *pattern, FILE *to)
{
    bool list = strcmp(pattern, "list") == 0;
    int r = -ENOENT;

    for (size_t i = 0; i < ELEMENTSOF(objects); i++) {
        if (list)
            fprintf(to, "%s\t%s\n", objects[i].path, objects[i].interface);
        else if (same_path(objects[i].path, pattern) || strcmp(objects[i].interface, pattern) == 0)
            fputs(objects[i].xml, to);
        else
            continue;
        r = 0;
    }
    return r;
}
