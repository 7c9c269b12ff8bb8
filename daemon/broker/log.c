/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "bus-api/macro.h"
#include "daemon/broker/log.h"

#define LINE_SIZE 1024

static const char *const level_names[] = {
    [LOG_EMERG] = "emerg",     [LOG_ALERT] = "alert",   [LOG_CRIT] = "crit", [LOG_ERR] = "err",
    [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

static const char *const target_names[_LOG_TARGET_MAX] = {
    [LOG_TARGET_CONSOLE] = "console",
    [LOG_TARGET_JOURNAL] = "journal",
    [LOG_TARGET_NULL] = "null",
};

/* systemd gives device and inode of the journal's socket, so that a redirected stderr is noticed.
 */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat st;

    if (!stream || sscanf(stream, "%ju:%ju", &device, &inode) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) >= 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(struct log *log, int level)
{
    log->level = level;
    log->target = stderr_is_journal() ? LOG_TARGET_JOURNAL : LOG_TARGET_CONSOLE;
}

/* A line is lost rather than waiting for a pipe that nobody reads. */
static void console_line(const char *message)
{
    struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&writable, 1, 0) > 0)
        dprintf(STDERR_FILENO, LOG_IDENTIFIER ": %s\n", message);
}

void log_line(const struct log *log, int level, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list ap;

    if (level > log->level || log->target == LOG_TARGET_NULL)
        return;

    va_start(ap, format);
    vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);

    if (log->target == LOG_TARGET_CONSOLE)
        console_line(line);
    else
        sd_journal_send("MESSAGE=%s", line, "PRIORITY=%i", level,
                        "SYSLOG_IDENTIFIER=" LOG_IDENTIFIER, NULL);
}

void log_entry(const struct log *log, int level, const char *message, const struct iovec *fields,
               int n_fields)
{
    enum { FIELDS_MAX = 32, OWN = 3 };
    static char no_memory[] = "MESSAGE=Out of memory for what is to be said";
    _cleanup_free_string_ char *text = NULL;
    char priority[] = "PRIORITY=0";
    static char identifier[] = "SYSLOG_IDENTIFIER=" LOG_IDENTIFIER;
    struct iovec all[FIELDS_MAX];

    if (log->target == LOG_TARGET_NULL)
        return;
    if (log->target == LOG_TARGET_CONSOLE) {
        if (level <= log->level)
            console_line(message);
        return;
    }
    if (asprintf(&text, "MESSAGE=%s", message) < 0)
        text = NULL;
    priority[sizeof(priority) - 2] = (char)('0' + level);
    all[0] = (struct iovec){text ? text : no_memory, strlen(text ? text : no_memory)};
    all[1] = (struct iovec){priority, strlen(priority)};
    all[2] = (struct iovec){identifier, strlen(identifier)};
    for (int i = 0; i < n_fields && OWN + i < FIELDS_MAX; i++)
        all[OWN + i] = fields[i];
    (void)sd_journal_sendv(all, OWN + (n_fields < FIELDS_MAX - OWN ? n_fields : FIELDS_MAX - OWN));
}

const char *log_level_to_string(int level)
{
    return level >= 0 && (size_t)level < ELEMENTSOF(level_names) ? level_names[level] : NULL;
}

int log_level_from_string(const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
        if (strcmp(level_names[i], name) == 0)
            return (int)i;
    return -1;
}

const char *log_target_to_string(enum log_target target)
{
    return target >= 0 && target < _LOG_TARGET_MAX ? target_names[target] : NULL;
}

enum log_target log_target_from_string(const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(target_names); i++)
        if (strcmp(target_names[i], name) == 0)
            return (enum log_target)i;
    return _LOG_TARGET_INVALID;
}
