/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bus-api/names.h"
#include "bus-api/paths.h"

bool ptraced_session_id_valid(const char *id)
{
    size_t n;

    if (!id || *id < 'a' || *id > 'z')
        return false;
    n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789");
    return id[n] == '\0' && n <= PTRACED_SESSION_ID_MAX;
}

/* Takes one label off the front: copies it and moves past it and the slash behind it. */
static bool take_label(const char **p, char *label, size_t size)
{
    size_t n = strcspn(*p, "/");

    if (n == 0 || n >= size)
        return false;
    memcpy(label, *p, n);
    label[n] = '\0';
    *p += n;
    if (**p == '/') {
        (*p)++;
        return **p != '\0';
    }
    return true;
}

static bool take_number(const char **p, pid_t *ret)
{
    char label[12];
    long long v = 0;

    if (!take_label(p, label, sizeof(label)) || label[0] == '0')
        return false;
    for (const char *c = label; *c; c++) {
        if (*c < '0' || *c > '9')
            return false;
        v = v * 10 + (*c - '0');
    }
    if (v > INT_MAX)
        return false;
    *ret = (pid_t)v;
    return true;
}

static bool take_word(const char **p, const char *word)
{
    char label[16];

    return take_label(p, label, sizeof(label)) && strcmp(label, word) == 0;
}

static enum ptraced_path_kind parse(const char *p, struct ptraced_path *path)
{
    static const char prefix[] = PTRACED_SESSION_PREFIX "/";

    if (strncmp(p, prefix, strlen(prefix)) != 0)
        return PTRACED_PATH_INVALID;
    p += strlen(prefix);

    if (!take_label(&p, path->session, sizeof(path->session)) ||
        !ptraced_session_id_valid(path->session))
        return PTRACED_PATH_INVALID;
    if (*p == '\0')
        return PTRACED_PATH_SESSION;
    if (!take_word(&p, "process"))
        return PTRACED_PATH_INVALID;
    if (*p == '\0')
        return PTRACED_PATH_PROCESS_LIST;
    if (!take_number(&p, &path->pid))
        return PTRACED_PATH_INVALID;
    if (*p == '\0')
        return PTRACED_PATH_PROCESS;
    if (!take_word(&p, "thread"))
        return PTRACED_PATH_INVALID;
    if (*p == '\0')
        return PTRACED_PATH_THREAD_LIST;
    if (!take_number(&p, &path->tid) || *p != '\0')
        return PTRACED_PATH_INVALID;
    return PTRACED_PATH_THREAD;
}

enum ptraced_path_kind ptraced_path_parse(const char *path, struct ptraced_path *ret)
{
    struct ptraced_path parsed = {0};

    parsed.kind = parse(path, &parsed);
    if (parsed.kind == PTRACED_PATH_INVALID)
        parsed = (struct ptraced_path){0};
    *ret = parsed;
    return parsed.kind;
}

char *ptraced_path_session(char buffer[static PTRACED_PATH_MAX], const char *session)
{
    snprintf(buffer, PTRACED_PATH_MAX, PTRACED_SESSION_PREFIX "/%s", session);
    return buffer;
}

char *ptraced_path_process(char buffer[static PTRACED_PATH_MAX], const char *session, pid_t pid)
{
    snprintf(buffer, PTRACED_PATH_MAX, PTRACED_SESSION_PREFIX "/%s/process/%d", session, pid);
    return buffer;
}

char *ptraced_path_thread(char buffer[static PTRACED_PATH_MAX], const char *session, pid_t pid,
                          pid_t tid)
{
    snprintf(buffer, PTRACED_PATH_MAX, PTRACED_SESSION_PREFIX "/%s/process/%d/thread/%d", session,
             pid, tid);
    return buffer;
}
