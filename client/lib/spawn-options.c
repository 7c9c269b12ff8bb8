/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "client/lib/internal.h"
#include "client/lib/spawn-plan.h"
#include "client/lib/strv.h"

_public_ int ptraced_spawn_options_new(ptraced_spawn_options **ret)
{
    ptraced_spawn_options *o;

    o = malloc(sizeof(*o));
    if (!o)
        return -ENOMEM;
    *o = (ptraced_spawn_options){
        .stdio = {-1, -1, -1},
        .terminal = -1,
        .attach = {.size = sizeof(o->attach)},
    };
    *ret = o;
    return 0;
}

static void free_attach(struct ptraced_attach_options *attach)
{
    strv_free((char **)attach->kinds);
    strv_free((char **)attach->stops);
}

_public_ ptraced_spawn_options *ptraced_spawn_options_free(ptraced_spawn_options *o)
{
    if (!o)
        return NULL;
    strv_free(o->argv);
    strv_free(o->environment);
    free(o->directory);
    free_attach(&o->attach);
    free(o);
    return NULL;
}

_public_ void ptraced_spawn_options_freep(ptraced_spawn_options **o)
{
    *o = ptraced_spawn_options_free(*o);
}

static int set_strings(char ***strings, char *const *value)
{
    char **copy = NULL;

    if (value) {
        copy = strv_copy((const char *const *)value);
        if (!copy)
            return -ENOMEM;
    }
    strv_free(*strings);
    *strings = copy;
    return 0;
}

_public_ int ptraced_spawn_options_set_argv(ptraced_spawn_options *o, char *const argv[])
{
    return argv && argv[0] ? set_strings(&o->argv, argv) : -EINVAL;
}

_public_ int ptraced_spawn_options_set_environment(ptraced_spawn_options *o, char *const envp[])
{
    return set_strings(&o->environment, envp);
}

_public_ int ptraced_spawn_options_set_directory(ptraced_spawn_options *o, const char *path)
{
    char *copy = NULL;

    if (path) {
        copy = strdup(path);
        if (!copy)
            return -ENOMEM;
    }
    free(o->directory);
    o->directory = copy;
    return 0;
}

_public_ int ptraced_spawn_options_set_stdio(ptraced_spawn_options *o, int in, int out, int err)
{
    if (in < -1 || out < -1 || err < -1)
        return -EINVAL;
    o->stdio[0] = in;
    o->stdio[1] = out;
    o->stdio[2] = err;
    return 0;
}

_public_ int ptraced_spawn_options_set_terminal(ptraced_spawn_options *o, int tty_fd)
{
    if (tty_fd < -1)
        return -EINVAL;
    o->terminal = tty_fd;
    return 0;
}

_public_ int ptraced_spawn_options_set_process_group(ptraced_spawn_options *o, bool foreground)
{
    o->process_group = true;
    o->foreground = foreground;
    return 0;
}

_public_ int ptraced_spawn_options_set_randomize(ptraced_spawn_options *o, bool randomize)
{
    o->fixed_addresses = !randomize;
    return 0;
}

_public_ int ptraced_spawn_options_set_attach(ptraced_spawn_options *o,
                                              const struct ptraced_attach_options *a)
{
    struct ptraced_attach_options copy;
    char **kinds = NULL, **stops = NULL;
    int r;

    r = attach_options_read(a, &copy);
    if (r < 0)
        return r;
    r = set_strings(&kinds, (char *const *)copy.kinds);
    if (r >= 0)
        r = set_strings(&stops, (char *const *)copy.stops);
    if (r < 0) {
        strv_free(kinds);
        return r;
    }
    free_attach(&o->attach);
    o->attach = copy;
    o->attach.kinds = (const char **)kinds;
    o->attach.stops = (const char **)stops;
    return 0;
}
