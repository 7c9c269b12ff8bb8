/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/names.h"
#include "client/lib/internal.h"

/* Of a line "key:\tNUMBER" in a file of /proc; 0 where there is none. */
static pid_t read_number(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    size_t length = strlen(key);
    char line[256];
    long n = 0;

    if (!f)
        return 0;
    while (n == 0 && fgets(line, sizeof(line), f))
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            n = strtol(line + length + 1, NULL, 10);
    (void)fclose(f);
    return n > 0 ? (pid_t)n : 0;
}

static pid_t process_of(const char *method, int what)
{
    char path[48];

    if (strcmp(method, "AttachProcess") == 0)
        return what;
    if (strcmp(method, "AttachThread") == 0) {
        snprintf(path, sizeof(path), "/proc/%d/status", what);
        return read_number(path, "Tgid");
    }
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", what);
    return read_number(path, "Pid");
}

int proof_open(const ptraced *p, const char *method, int what)
{
    char path[32];
    pid_t pid;

    if (p->transport != PTRACED_TRANSPORT_SYSTEM || geteuid() == 0)
        return -1;
    pid = process_of(method, what);
    if (pid == 0)
        return -1;
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    return open(path, O_RDWR | O_CLOEXEC);
}
