/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts a program and prints every event of its threads until it has ended. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <ptraced/ptraced.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

static bool is_end(const ptraced_event *e, pid_t pid)
{
    enum ptraced_event_kind kind = ptraced_event_get_kind(e);

    /* The first thread's end is reported when the whole process has ended. */
    return ptraced_event_get_tid(e) == pid &&
           (kind == PTRACED_EVENT_EXITED || kind == PTRACED_EVENT_KILLED ||
            kind == PTRACED_EVENT_LOST);
}

static int follow(ptraced *p, char *argv[])
{
    _cleanup_(ptraced_spawn_options_freep) ptraced_spawn_options *options = NULL;
    _cleanup_(ptraced_session_unrefp) ptraced_session *session = NULL;
    pid_t pid;
    int r;

    r = ptraced_session_new(p, "follow", 0, &session);
    if (r < 0)
        return r;
    r = ptraced_spawn_options_new(&options);
    if (r < 0)
        return r;
    r = ptraced_spawn_options_set_argv(options, argv);
    if (r < 0)
        return r;
    r = ptraced_spawn(session, options, &pid);
    if (r < 0)
        return r;

    for (bool ended = false; !ended;) {
        _cleanup_(ptraced_event_unrefp) ptraced_event *e = NULL;

        r = ptraced_session_get_event(session, UINT64_MAX, &e);
        if (r < 0)
            return r;
        printf("%d/%d %s\n", ptraced_event_get_pid(e), ptraced_event_get_tid(e),
               ptraced_event_get_kind_name(e));
        ended = is_end(e, pid);
    }
    waitpid(pid, NULL, 0); /* it is our child */
    return 0;
}

int main(int argc, char *argv[])
{
    _cleanup_(ptraced_unrefp) ptraced *p = NULL;
    const char *message = NULL;
    int r;

    if (argc < 2)
        return 2;
    r = ptraced_open_embedded(&p); /* or ptraced_open_system() */
    if (r >= 0)
        r = follow(p, argv + 1);
    if (r >= 0)
        return 0;
    if (p)
        ptraced_get_error(p, NULL, &message);
    fprintf(stderr, "%s: %s\n", p ? argv[1] : "ptraced", message ? message : strerror(-r));
    return 1;
}
