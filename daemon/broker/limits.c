/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "bus-api/errors.h"
#include "daemon/broker/limits.h"

static struct {
    const char *name;
    unsigned configured;
    const char *what;   /* of which there may be that many */
    const char *remedy; /* what the caller can do */
    bool is_fixed;      /* other numbers in the code go by it */
    unsigned most;      /* 0: LIMIT_VALUE_MAX */
    unsigned changed;   /* while the broker runs; 0: it is not */
} limits[_LIMIT_MAX] = {
    [LIMIT_SESSIONS] = {"SessionsMax", 64, "sessions of one user", "close one first"},
    [LIMIT_TRACEES] = {"TraceesMax", 1024, "traced processes of one user",
                       "detach from some first"},
    [LIMIT_TRACERS] = {"TracersMax", 128, "tracers of one user", "detach from some first"},
    /* Each is some entries in the journal (audit-user.h). */
    [LIMIT_ATTACHES] = {"AttachesPerMinuteMax", 600, "attaches of one user in a minute",
                        "wait until it is over"},
    [LIMIT_NEW_SESSIONS] = {"SessionsPerMinuteMax", 600, "new sessions of one user in a minute",
                            "wait until it is over"},
    [LIMIT_THREADS] = {"ThreadsMax", 65536, "threads that one user's sessions trace",
                       "detach from some first"},
    [LIMIT_BREAKPOINTS] = {"BreakpointsMax", 8192, "breakpoints of one user", "remove one first"},
    [LIMIT_EVENTS] = {"QueuedEventsMax", 65536, "events that wait in one user's sessions",
                      "take some first"},
    [LIMIT_FLIGHT] = {"FlightKiBMax", 8192, "KiB of one user's calls under way to tracers",
                      "wait for some of the answers first"},
    [LIMIT_KEPT] = {"KeptMiBMax", 4096, "MiB in files of memory that one user keeps or waits for",
                    "close and unmap some first"},
    [LIMIT_OBSERVE] = {"ObserveMSecMax", 5000,
                       "milliseconds for which one user's observers hold what is not their own",
                       "wait some seconds"},
    [LIMIT_RAISED] = {"RaisedMSecMax", 500,
                      "milliseconds of one user's tracers in a raised scheduling class",
                      "wait some seconds"},
    [LIMIT_SUBSCRIBERS] = {"SubscribersMax", 32, "subscribers of one session",
                           "unsubscribe one first"},
    [LIMIT_WAITERS] = {"WaitersMax", 32, "calls of GetEvent that wait in one session",
                       "let one return first"},
    [LIMIT_ROUTED] = {"CallsMax", 256, "calls under way to one tracer",
                      "wait for some of the answers first"},
    /* Above the 512 at which events are held back (stream.c). */
    [LIMIT_UNREAD] = {"UnreadMax", 1024, "messages that nobody has read yet",
                      "read some of the answers first", .is_fixed = true},
    [LIMIT_QUESTIONS] = {"QuestionsMax", 16, "questions to polkit under way for one user",
                         "answer some of them first"},
    [LIMIT_GATHERED] = {"TracerCallsMax", 4096, "calls to tracers under way for one user",
                        "wait for some of the answers first"},
    /* The system bus lets no connection match more than 512 signals, and each is watched by one, as
     * are those of root that are not counted (caller.c). */
    [LIMIT_CALLERS] = {"CallersMax", 400, "programs that hold sessions, subscriptions or calls",
                       "end some of them first", .most = 470},
    [LIMIT_USER_CALLERS] = {"UserCallersMax", 64,
                            "programs of one user that hold sessions, subscriptions or calls",
                            "end some of them first"},
    [LIMIT_UNCHECKED] = {"UncheckedMax", 64, "calls of a program that has just connected",
                         "wait for the first answer before sending more"},
};

unsigned limit_value(enum limit limit)
{
    return limits[limit].changed > 0 ? limits[limit].changed : limits[limit].configured;
}

static int find_name(const char *name)
{
    for (int i = 0; i < _LIMIT_MAX; i++)
        if (!limits[i].is_fixed && strcmp(limits[i].name, name) == 0)
            return i;
    return -ENOENT;
}

unsigned limit_most(const char *name)
{
    int i = find_name(name);

    return i < 0 || limits[i].most == 0 ? LIMIT_VALUE_MAX : limits[i].most;
}

/* Its number, where it can have that value. */
static int find(const char *name, uint64_t value)
{
    int i = find_name(name);

    return i >= 0 && (value < 1 || value > limit_most(name)) ? -ERANGE : i;
}

int limit_set(const char *name, unsigned value)
{
    int i = find(name, value);

    if (i < 0)
        return i;
    limits[i].configured = value;
    return 0;
}

int limit_check_change(const char *name, uint64_t value)
{
    int i = find(name, value);

    return i < 0 ? i : 0;
}

int limit_change(const char *name, uint64_t value, unsigned *ret_before)
{
    int i = find(name, value);

    if (i < 0)
        return i;
    *ret_before = limit_value((enum limit)i);
    limits[i].changed = value == limits[i].configured ? 0 : (unsigned)value;
    return 0;
}

bool limits_are_changed(void)
{
    for (size_t i = 0; i < _LIMIT_MAX; i++)
        if (limits[i].changed > 0)
            return true;
    return false;
}

bool limit_describe(enum limit limit, const char **ret_name, const char **ret_what)
{
    *ret_name = limits[limit].name;
    *ret_what = limits[limit].what;
    return !limits[limit].is_fixed;
}

int limit_check(enum limit limit, size_t used, sd_bus_error *error)
{
    if (used < limit_value(limit))
        return 0;
    return sd_bus_error_setf(error, PTRACED_ERROR_LIMIT_EXCEEDED,
                             "The limit %s is reached: no more than %u %s; %s", limits[limit].name,
                             limit_value(limit), limits[limit].what, limits[limit].remedy);
}
