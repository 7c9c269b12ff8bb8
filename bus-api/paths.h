/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Object paths:
 *
 *     /org/ptraced/Tracer1/session/S
 *     /org/ptraced/Tracer1/session/S/process/PID
 *     /org/ptraced/Tracer1/session/S/process/PID/thread/TID
 *
 * S is a session id: a lower-case letter, then letters and digits, as the broker makes it. PID and
 * TID are plain decimal without a leading zero. All three are valid labels as they stand, so that
 * a path can be typed in a shell; nothing here needs the escaping of sd_bus_path_encode(). */

#define PTRACED_SESSION_ID_MAX 31u
#define PTRACED_PATH_MAX 128u

enum ptraced_path_kind {
    PTRACED_PATH_INVALID,
    PTRACED_PATH_SESSION,      /* .../session/S */
    PTRACED_PATH_PROCESS_LIST, /* .../session/S/process */
    PTRACED_PATH_PROCESS,      /* .../session/S/process/PID */
    PTRACED_PATH_THREAD_LIST,  /* .../session/S/process/PID/thread */
    PTRACED_PATH_THREAD,       /* .../session/S/process/PID/thread/TID */
};

struct ptraced_path {
    enum ptraced_path_kind kind;
    char session[PTRACED_SESSION_ID_MAX + 1];
    pid_t pid; /* 0 where the path names none */
    pid_t tid;
};

/* Whether the string is a session id as above. */
bool ptraced_session_id_valid(const char *id);

/* Reads a path. Whatever is not exactly one of the forms above is PTRACED_PATH_INVALID, which is
 * also what the function returns. Thread-safe. */
enum ptraced_path_kind ptraced_path_parse(const char *path, struct ptraced_path *ret);

/* Write a path into a caller's buffer of PTRACED_PATH_MAX bytes and return that buffer. The
 * session id must be valid. Thread-safe. */
char *ptraced_path_session(char buffer[static PTRACED_PATH_MAX], const char *session);
char *ptraced_path_process(char buffer[static PTRACED_PATH_MAX], const char *session, pid_t pid);
char *ptraced_path_thread(char buffer[static PTRACED_PATH_MAX], const char *session, pid_t pid,
                          pid_t tid);
