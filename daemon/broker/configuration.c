/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bus-api/macro.h"
#include "daemon/broker/configuration.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/log.h"

#define NAME "ptraced.conf"
#define LINE_MAX_BYTES 4096u
#define DROP_INS_MAX 256u

static const char *const folders[] = {"/etc/ptraced", "/run/ptraced", "/usr/local/lib/ptraced",
                                      "/usr/lib/ptraced"};

/* ---- A file --------------------------------------------------------------------------------- */

struct place {
    const struct log *log;
    const char *path;
    unsigned line;
    bool in_limits;
};

static char *strip(char *text)
{
    char *end;

    while (isspace((unsigned char)*text))
        text++;
    end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return text;
}

static void read_section(struct place *p, const char *text)
{
    p->in_limits = strcmp(text, "[Limits]") == 0;
    if (!p->in_limits)
        log_warning(p->log, "%s:%u: there is no section %s, ignoring it", p->path, p->line, text);
}

static void read_value(const struct place *p, const char *key, const char *value)
{
    unsigned long number;
    char *end;
    int r;

    errno = 0;
    number = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno != 0 || number > UINT_MAX) {
        log_warning(p->log, "%s:%u: %s= takes a number, not \"%s\", ignoring it", p->path, p->line,
                    key, value);
        return;
    }
    r = limit_set(key, (unsigned)number);
    if (r == -ENOENT)
        log_warning(p->log, "%s:%u: there is no %s=, ignoring it", p->path, p->line, key);
    else if (r < 0)
        log_warning(p->log, "%s:%u: %s= can be 1 to %u, not %lu, ignoring it", p->path, p->line,
                    key, limit_most(key), number);
}

static void read_line(struct place *p, char *line)
{
    char *text = strip(line), *value;

    if (*text == '\0' || *text == '#' || *text == ';')
        return;
    if (*text == '[') {
        read_section(p, text);
        return;
    }
    value = strchr(text, '=');
    if (!value) {
        log_warning(p->log, "%s:%u: a line is KEY=VALUE, ignoring this one", p->path, p->line);
        return;
    }
    *value++ = '\0';
    if (p->in_limits)
        read_value(p, strip(text), strip(value));
}

/* False: there is none. */
static bool read_file(const struct log *log, const char *path)
{
    struct place p = {.log = log, .path = path};
    char line[LINE_MAX_BYTES];
    FILE *f = fopen(path, "re");

    if (!f) {
        if (errno != ENOENT)
            log_warning(log, "Cannot read %s, ignoring it: %s", path, strerror(errno));
        return errno != ENOENT;
    }
    while (fgets(line, sizeof(line), f)) {
        p.line++;
        read_line(&p, line);
    }
    fclose(f);
    return true;
}

/* ---- Drop-ins ------------------------------------------------------------------------------- */

struct drop_in {
    char *name;
    char *path;
};

struct drop_ins {
    struct drop_in items[DROP_INS_MAX];
    size_t n;
};

static bool has_name(const struct drop_ins *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->items[i].name, name) == 0)
            return true;
    return false;
}

static bool is_drop_in(const char *name)
{
    const char *end = strrchr(name, '.');

    return *name != '.' && end && strcmp(end, ".conf") == 0;
}

static void add_drop_in(struct drop_ins *d, const char *folder, const char *name)
{
    struct drop_in *one = &d->items[d->n];

    if (d->n == DROP_INS_MAX || !is_drop_in(name) || has_name(d, name))
        return;
    one->name = strdup(name);
    if (one->name && asprintf(&one->path, "%s/%s", folder, name) >= 0)
        d->n++;
    else
        free(one->name);
}

static void add_folder(struct drop_ins *d, const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir)))
        add_drop_in(d, folder, entry->d_name);
    closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

/* A link to /dev/null is there to hide one of the same name elsewhere. */
static bool is_masked(const char *path)
{
    struct stat st;

    return stat(path, &st) >= 0 && S_ISCHR(st.st_mode);
}

static void read_drop_ins(const struct log *log, const char *root)
{
    struct drop_ins *d = calloc(1, sizeof(*d));
    char path[PATH_MAX];

    if (!d)
        return;
    for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
        snprintf(path, sizeof(path), "%s%s/" NAME ".d", root, folders[i]);
        add_folder(d, path);
    }
    qsort(d->items, d->n, sizeof(d->items[0]), by_name);
    for (size_t i = 0; i < d->n; i++) {
        if (!is_masked(d->items[i].path))
            (void)read_file(log, d->items[i].path);
        free(d->items[i].name);
        free(d->items[i].path);
    }
    free(d);
}

void config_read(const struct log *log, const char *root)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
        snprintf(path, sizeof(path), "%s%s/" NAME, root, folders[i]);
        if (is_masked(path) || read_file(log, path))
            break;
    }
    read_drop_ins(log, root);
}
