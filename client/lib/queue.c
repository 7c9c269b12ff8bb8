/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "client/lib/internal.h"

static void append(ptraced_session *s, ptraced_event *e)
{
    e->next = NULL;
    if (s->last)
        s->last->next = e;
    else
        s->first = e;
    s->last = e;
    s->n_events++;
}

/* What a program does before its exec is the library's own doing: it is hidden from the caller,
 * whose first event of it is the exec. Returns whether the event was that. */
static bool hide_before_exec(struct starting *starting, ptraced_event *e)
{
    const char *reason;

    switch (e->kind) {
    case PTRACED_EVENT_EXEC:
        starting->executed = true;
        starting->exec = e;
        return false;
    case PTRACED_EVENT_LOST:
        reason = ptraced_event_get_detail_string(e, "reason");
        starting->privileged = reason && strcmp(reason, "privilege") == 0;
        starting->ended = !starting->privileged;
        return false;
    case PTRACED_EVENT_EXIT:
    case PTRACED_EVENT_EXITED:
    case PTRACED_EVENT_KILLED:
        starting->ended = true;
        return false;
    default:
        if (e->stopped)
            starting->stopped_tid = e->tid;
        return true;
    }
}

static bool hide(struct starting *starting, ptraced_event *e)
{
    if (e->pid != starting->pid)
        return false;
    /* It has one thread, so that thread's end is its own. */
    if (e->kind == PTRACED_EVENT_EXITED || e->kind == PTRACED_EVENT_KILLED ||
        e->kind == PTRACED_EVENT_LOST)
        starting->over = true;
    if (starting->abandoned)
        return true;
    return !starting->executed && hide_before_exec(starting, e);
}

void session_push(ptraced_session *s, ptraced_event *e)
{
    if (hide(&s->starting, e))
        ptraced_event_unref(e);
    else
        append(s, e);
}

ptraced_event *session_pop(ptraced_session *s)
{
    ptraced_event *e = s->first;

    if (!e)
        return NULL;
    s->first = e->next;
    if (!s->first)
        s->last = NULL;
    s->n_events--;
    e->next = NULL;
    return e;
}

void session_drop_events(ptraced_session *s, pid_t pid)
{
    ptraced_event *rest = s->first, *e;

    s->first = s->last = NULL;
    s->n_events = 0;
    while ((e = rest)) {
        rest = e->next;
        if (pid == 0 || e->pid == pid)
            ptraced_event_unref(e);
        else
            append(s, e);
    }
}
