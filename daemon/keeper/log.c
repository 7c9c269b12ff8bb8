/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "daemon/keeper/log.h"

static const char *const journal_prefix[] = {
    [LOG_LEVEL_ERROR] = SD_ERR,
    [LOG_LEVEL_WARNING] = SD_WARNING,
    [LOG_LEVEL_NOTICE] = SD_NOTICE,
    [LOG_LEVEL_INFO] = SD_INFO,
};

/* Whether the journal reads standard error, as sd-daemon(3) tells it. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_line(enum log_level level, const char *format, ...)
{
    struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
    char line[1024];
    size_t n;
    va_list ap;
    int k;

    /* A priority is for the journal; a person wants to know who speaks. */
    if (is_journal())
        k = snprintf(line, sizeof(line), "%s", journal_prefix[level]);
    else
        k = snprintf(line, sizeof(line), "ptraced-keeper: ");
    n = (size_t)k;

    va_start(ap, format);
    k = vsnprintf(line + n, sizeof(line) - n - 1, format, ap);
    va_end(ap);
    if (k < 0)
        return;
    n += (size_t)k < sizeof(line) - n - 1 ? (size_t)k : sizeof(line) - n - 2;
    line[n++] = '\n';

    /* Losing a line is better than standing behind a pipe that nobody reads. */
    if (poll(&writable, 1, 0) > 0 && write(STDERR_FILENO, line, n) < 0)
        return;
}
