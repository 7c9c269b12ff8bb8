/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "client/ctl/macro.h"
#include "client/ctl/parse.h"
#include "client/ctl/verbs.h"

/* clang-format off */
static const struct verb verbs[] = {
    {"run", VERB_RUN, "[--] PROGRAM [ARGUMENT...]",
     "Start a program and follow its events to its end", 1, -1, true, verb_run},
    {"events", VERB_EVENTS, "-p PID... | -s SESSION",
     "Follow the events of a process or of a session", 0, 0, true, verb_events},
    {"attach", VERB_ATTACH, "PID...",
     "Attach to processes in a session that stays", 1, -1, false, verb_attach},
    {"sessions", VERB_SESSIONS, "",
     "List sessions", 0, 0, false, verb_sessions},
    {"status", VERB_STATUS, "[SESSION|PID]...",
     "Show the service, sessions or traced processes", 0, -1, false, verb_status},
    {"threads", VERB_THREADS, "[SESSION|PID]...",
     "List traced threads", 0, -1, false, verb_threads},
    {"interrupt", VERB_INTERRUPT, "PID[:TID]... | --all",
     "Stop processes or single threads", 0, -1, false, verb_interrupt},
    {"continue", VERB_CONTINUE, "PID[:TID]... | --all",
     "Let them run again", 0, -1, false, verb_continue},
    {"detach", VERB_DETACH, "PID[:TID]... | --all",
     "Stop tracing them; they run on", 0, -1, false, verb_detach},
    {"close", VERB_CLOSE, "SESSION...",
     "End sessions; what they traced runs on", 1, -1, false, verb_close},
    {"limits", VERB_LIMITS, "[LIMIT=VALUE]...",
     "Show the service's limits, or set some", 0, -1, false, verb_limits},
    {"log", VERB_LOG, "",
     "Show who traced what, from the journal", 0, 0, false, verb_log},
};
/* clang-format on */

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

const struct verb *verb_nearest(const char *name)
{
    const char *words[ELEMENTSOF(verbs)], *nearest;

    for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
        words[i] = verbs[i].name;
    nearest = parse_nearest(name, words, ELEMENTSOF(words));
    return nearest ? verb_find(nearest) : NULL;
}

const struct verb *verb_at(size_t i)
{
    return i < ELEMENTSOF(verbs) ? &verbs[i] : NULL;
}
