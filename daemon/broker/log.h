/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/uio.h>
#include <syslog.h>

/* What the broker tells its administrator. Levels and targets are those of
 * org.freedesktop.LogControl1. */

enum log_target {
    LOG_TARGET_CONSOLE, /* standard error, for people */
    LOG_TARGET_JOURNAL, /* with structured fields */
    LOG_TARGET_NULL,
    _LOG_TARGET_MAX,
    _LOG_TARGET_INVALID = -1,
};

struct log {
    int level; /* LOG_ERR ... LOG_DEBUG: what is less urgent is dropped */
    enum log_target target;
};

#define LOG_IDENTIFIER "ptraced"

/* The journal where standard error goes there, else standard error. */
void log_init(struct log *log, int level);

void log_line(const struct log *log, int level, const char *format, ...)
    __attribute__((__format__(__printf__, 3, 4)));

/* An entry with fields of its own beside its message, which the console shows alone. */
void log_entry(const struct log *log, int level, const char *message, const struct iovec *fields,
               int n_fields);

#define log_error(log, ...) log_line(log, LOG_ERR, __VA_ARGS__)
#define log_warning(log, ...) log_line(log, LOG_WARNING, __VA_ARGS__)
#define log_info(log, ...) log_line(log, LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_line(log, LOG_DEBUG, __VA_ARGS__)

/* The names of LogControl1. NULL and a negative number where there is none. */
const char *log_level_to_string(int level);
int log_level_from_string(const char *name);
const char *log_target_to_string(enum log_target target);
enum log_target log_target_from_string(const char *name);
