/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <systemd/sd-event.h>

#include "bus-api/audit.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/audit-entry.h"
#include "daemon/broker/audit-user.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/limits.h"

#define SEC_USEC UINT64_C(1000000)
#define TELL_USEC (10 * SEC_USEC)
#define MINUTE_USEC (60 * SEC_USEC)
#define CHILDREN_TOLD_MAX 600u /* in a minute */
#define PERMITS_TOLD_MAX 600u  /* the same */

#define USERS_MAX 1024u
#define OTHERS ((uid_t)-1) /* all for whom there is no room are one; nobody has this id */

/* Of who and what was refused last, in a copy: names of the bus and of methods may be longer. */
struct last_refusal {
    char caller[64];
    char action[64];
    char session[PTRACED_SESSION_ID_MAX + 1];
    pid_t pid;
    char *executable;
};

struct audit_user {
    struct list users;
    struct broker *broker;
    uid_t uid;

    uint64_t minute_usec; /* when this one began */
    unsigned n_attaches;  /* in it */
    unsigned n_joins;
    unsigned n_sessions;
    unsigned n_children;
    unsigned n_permits;

    uint64_t refused_usec;   /* when it was last told that it is refused things */
    uint64_t call_usec;      /* the same of calls */
    uint64_t missed_usec;    /* the same of those about what is not there */
    uint64_t listed_usec[2]; /* the same of lists that it is shown: its user's, and others' */
    unsigned n_refused;      /* counted, and not told yet */
    struct last_refusal last;
    unsigned n_permitted;
    unsigned n_followed;
    unsigned n_released;
    sd_event_source *timer; /* while there is something to tell */
};

static uint64_t now_usec(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SEC_USEC + (uint64_t)t.tv_nsec / 1000;
}

static bool has_counted(const struct audit_user *u)
{
    return u->n_refused > 0 || u->n_permitted > 0 || u->n_followed > 0 || u->n_released > 0;
}

/* ---- The users ------------------------------------------------------------------------------ */

static void user_free(struct audit_user *u)
{
    list_remove(&u->users);
    u->broker->audit.n--;
    sd_event_source_disable_unref(u->timer);
    free(u->last.executable);
    free(u);
}

static struct audit_user *user_find(const struct broker *b, uid_t uid)
{
    LIST_FOREACH(struct audit_user, u, &b->audit.users, users)
        if (u->uid == uid)
            return u;
    return NULL;
}

static void drop_a_quiet_one(struct broker *b)
{
    uint64_t now = now_usec();

    LIST_FOREACH(struct audit_user, u, &b->audit.users, users)
        if (!has_counted(u) && now - u->minute_usec >= MINUTE_USEC &&
            now - u->refused_usec >= TELL_USEC) {
            user_free(u);
            return;
        }
}

static struct audit_user *user_new(struct broker *b, uid_t uid)
{
    struct audit_user *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->broker = b;
    u->uid = uid;
    list_append(&b->audit.users, &u->users);
    b->audit.n++;
    return u;
}

/* NULL: there is no memory. */
static struct audit_user *user_get(struct broker *b, uid_t uid)
{
    struct audit_user *u = user_find(b, uid);

    if (u)
        return u;
    if (b->audit.n >= USERS_MAX)
        drop_a_quiet_one(b);
    if (b->audit.n < USERS_MAX)
        return user_new(b, uid);
    u = user_find(b, OTHERS);
    return u ? u : user_new(b, OTHERS);
}

static void turn_minute(struct audit_user *u)
{
    uint64_t now = now_usec();

    if (u->minute_usec != 0 && now - u->minute_usec < MINUTE_USEC)
        return;
    u->minute_usec = now;
    u->n_attaches = u->n_joins = u->n_sessions = u->n_children = u->n_permits = 0;
}

/* ---- What was counted ----------------------------------------------------------------------- */

static void begin(const struct audit_user *u, struct audit_entry *e, const char *id, unsigned n)
{
    audit_entry_begin(e, id, LOG_NOTICE);
    if (u->uid != OTHERS)
        audit_entry_add(e, PTRACED_AUDIT_UID "=%u", u->uid);
    audit_entry_add(e, PTRACED_AUDIT_COUNT "=%u", n);
}

static void add_last(struct audit_entry *e, const struct last_refusal *last)
{
    audit_entry_add(e, PTRACED_AUDIT_CALLER "=%s", last->caller);
    audit_entry_add(e, PTRACED_AUDIT_ACTION "=%s", last->action);
    if (*last->session)
        audit_entry_add(e, PTRACED_AUDIT_SESSION "=%s", last->session);
    if (last->pid > 0)
        audit_entry_add(e, PTRACED_AUDIT_PID "=%d", last->pid);
    if (last->executable)
        audit_entry_add(e, PTRACED_AUDIT_EXECUTABLE "=%s", last->executable);
}

static const char *describe_last(const struct last_refusal *last, char text[static 96])
{
    if (last->pid > 0)
        snprintf(text, 96, " of process %d", last->pid);
    else if (*last->session)
        snprintf(text, 96, " of session %s", last->session);
    else
        text[0] = '\0';
    return text;
}

static void tell_refusals(struct audit_user *u)
{
    const struct last_refusal *last = &u->last;
    const char *program = last->executable ? last->executable : "";
    const char *open = *program ? " (" : "", *close = *program ? ")" : "";
    struct audit_entry e;
    char of[96];

    begin(u, &e, PTRACED_AUDIT_REFUSALS_ID, u->n_refused);
    add_last(&e, last);
    describe_last(last, of);
    if (u->uid == OTHERS)
        audit_entry_finish(&e, u->broker,
                           "Other users were refused %u times, the last (%s) %s%s%s%s%s",
                           u->n_refused, last->caller, last->action, of, open, program, close);
    else
        audit_entry_finish(&e, u->broker,
                           "User %u was refused %u more times, the last (%s) %s%s%s%s%s", u->uid,
                           u->n_refused, last->caller, last->action, of, open, program, close);
}

static void tell_permits(struct audit_user *u)
{
    struct audit_entry e;

    begin(u, &e, PTRACED_AUDIT_PERMITS_ID, u->n_permitted);
    if (u->uid == OTHERS)
        audit_entry_finish(&e, u->broker, "Other users were permitted something %u times",
                           u->n_permitted);
    else
        audit_entry_finish(&e, u->broker, "User %u was permitted something %u more times", u->uid,
                           u->n_permitted);
}

static void tell_children(struct audit_user *u)
{
    struct audit_entry e;

    begin(u, &e, PTRACED_AUDIT_CHILDREN_ID, u->n_followed);
    if (u->uid == OTHERS)
        audit_entry_finish(&e, u->broker, "Other users followed %u children and released %u",
                           u->n_followed, u->n_released);
    else
        audit_entry_finish(&e, u->broker, "User %u followed %u more children and released %u",
                           u->uid, u->n_followed, u->n_released);
}

static void tell(struct audit_user *u)
{
    if (u->n_refused > 0) {
        tell_refusals(u);
        u->refused_usec = now_usec();
    }
    if (u->n_permitted > 0)
        tell_permits(u);
    if (u->n_followed > 0 || u->n_released > 0)
        tell_children(u);
    u->n_refused = u->n_permitted = u->n_followed = u->n_released = 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    tell(userdata);
    return 0;
}

/* Without a timer it is told with the next one, or at the end. */
static void set_timer(struct audit_user *u)
{
    int enabled;

    if (!u->timer)
        (void)sd_event_add_time_relative(u->broker->event, &u->timer, CLOCK_MONOTONIC, TELL_USEC,
                                         TELL_USEC / 10, on_timer, u);
    else if (sd_event_source_get_enabled(u->timer, &enabled) == 0) {
        (void)sd_event_source_set_time_relative(u->timer, TELL_USEC);
        (void)sd_event_source_set_enabled(u->timer, SD_EVENT_ONESHOT);
    }
}

/* ---- What is asked from outside ------------------------------------------------------------- */

void audit_users_init(struct audit_users *a)
{
    list_init(&a->users);
}

void audit_users_done(struct audit_users *a)
{
    struct audit_user *u;

    while ((u = LIST_FIRST(&a->users, struct audit_user, users))) {
        tell(u);
        user_free(u);
    }
}

static int count_one(struct audit_user *u, unsigned *n, enum limit limit, sd_bus_error *error)
{
    int r;

    if (u->uid == OTHERS) /* whose they are is nobody's in particular */
        return 0;
    turn_minute(u);
    r = limit_check(limit, *n, error);
    if (r >= 0)
        (*n)++;
    return r;
}

int audit_user_attach(struct broker *b, uid_t uid, sd_bus_error *error)
{
    struct audit_user *u = user_get(b, uid);

    return u ? count_one(u, &u->n_attaches, LIMIT_ATTACHES, error) : -ENOMEM;
}

int audit_user_join(struct broker *b, uid_t uid, sd_bus_error *error)
{
    struct audit_user *u = user_get(b, uid);

    return u ? count_one(u, &u->n_joins, LIMIT_ATTACHES, error) : -ENOMEM;
}

int audit_user_session(struct broker *b, uid_t uid, sd_bus_error *error)
{
    struct audit_user *u = user_get(b, uid);

    return u ? count_one(u, &u->n_sessions, LIMIT_NEW_SESSIONS, error) : -ENOMEM;
}

/* Of what follows closely the first alone is written. */
static bool comes_closely(const struct audit_user *u, uint64_t *last_usec)
{
    uint64_t now = now_usec();

    if (u->uid == OTHERS || (*last_usec != 0 && now - *last_usec < TELL_USEC))
        return true;
    *last_usec = now;
    return false;
}

static void note_last(struct last_refusal *last, const struct audit_refusal *what)
{
    snprintf(last->caller, sizeof(last->caller), "%s", what->caller);
    snprintf(last->action, sizeof(last->action), "%s", what->action);
    snprintf(last->session, sizeof(last->session), "%s", what->session);
    last->pid = what->pid;
    free(last->executable);
    last->executable = what->executable ? strdup(what->executable) : NULL;
}

static bool is_told(struct audit_user *u, uint64_t *last_usec, const struct audit_refusal *what)
{
    if (!comes_closely(u, last_usec))
        return true;
    u->n_refused++;
    note_last(&u->last, what);
    set_timer(u);
    return false;
}

bool audit_user_refused(struct broker *b, uid_t uid, const struct audit_refusal *what)
{
    struct audit_user *u = user_get(b, uid);

    return !u || is_told(u, &u->refused_usec, what);
}

bool audit_user_call_refused(struct broker *b, uid_t uid, const struct audit_refusal *what)
{
    struct audit_user *u = user_get(b, uid);

    return !u || is_told(u, &u->call_usec, what);
}

bool audit_user_call_missed(struct broker *b, uid_t uid, const struct audit_refusal *what)
{
    struct audit_user *u = user_get(b, uid);

    return !u || is_told(u, &u->missed_usec, what);
}

bool audit_user_permitted(struct broker *b, uid_t uid)
{
    struct audit_user *u = user_get(b, uid);

    if (!u)
        return true;
    turn_minute(u);
    if (u->uid != OTHERS && u->n_permits++ < PERMITS_TOLD_MAX)
        return true;
    u->n_permitted++;
    set_timer(u);
    return false;
}

static uint64_t *listed(struct audit_user *u, const char *action)
{
    return &u->listed_usec[strcmp(action, PTRACED_ACTION_LIST) != 0];
}

bool audit_user_listed(struct broker *b, uid_t uid, const char *action)
{
    struct audit_user *u = user_get(b, uid);

    if (!u || !comes_closely(u, listed(u, action)))
        return true;
    u->n_permitted++;
    set_timer(u);
    return false;
}

bool audit_user_list_refused(struct broker *b, uid_t uid, const struct audit_refusal *what)
{
    struct audit_user *u = user_get(b, uid);

    return !u || is_told(u, listed(u, what->action), what);
}

bool audit_user_followed(struct broker *b, uid_t uid)
{
    struct audit_user *u = user_get(b, uid);

    if (!u)
        return true;
    turn_minute(u);
    if (u->uid != OTHERS && u->n_children++ < CHILDREN_TOLD_MAX)
        return true;
    u->n_followed++;
    set_timer(u);
    return false;
}

void audit_user_released(struct broker *b, uid_t uid)
{
    struct audit_user *u = user_get(b, uid);

    if (!u)
        return;
    u->n_released++;
    set_timer(u);
}
