/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/audit.h"
#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/measure.h"
#include "daemon/broker/permit-call.h"
#include "daemon/broker/permit.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/requester.h"
#include "daemon/broker/session.h"
#include "daemon/broker/target.h"
#include "daemon/broker/tracee.h"

struct permit_wait {
    struct list permit_waits; /* of the caller */
    struct caller *caller;
    sd_bus_message *message;
    struct permits wanted; /* and not asked for yet */
    struct permits got;
    bool is_answered;   /* it has come back, or is about to */
    const char *action; /* that is being asked for */
    char session[PTRACED_SESSION_ID_MAX + 1];
    uid_t owner;         /* of that session */
    pid_t pid;           /* of the process; 0: it is about none */
    uint64_t attachment; /* by which the session traces it, or did */
    uint64_t n_executed; /* then */
    bool is_of_gone;
    uid_t user;       /* whose that is, or the session; (uid_t)-1: unknown */
    char *pids;       /* of the process, or of all that the session traces */
    char *executable; /* NULL: unknown */
    const char *access;
    char *limit; /* that is to be set, to this; NULL: it is about a session or process */
    uint64_t value;
    bool own;
    char requester[TARGET_COMM_MAX]; /* "": unknown */
    struct requester *requester_look;
    struct polkit_check *check;
};

static void wait_free(struct permit_wait *w)
{
    w->check = polkit_cancel(w->check);
    w->requester_look = requester_cancel(w->requester_look);
    list_remove(&w->permit_waits);
    sd_bus_message_unref(w->message);
    free(w->pids);
    free(w->executable);
    free(w->limit);
    free(w);
}

/* ---- What a call takes ---------------------------------------------------------------------- */

static struct session *session_of(const struct caller *c, sd_bus_message *m, pid_t *ret_pid)
{
    struct ptraced_path path;

    ptraced_path_parse(sd_bus_message_get_path(m), &path);
    *ret_pid = path.kind == PTRACED_PATH_PROCESS ? path.pid : 0;
    return path.kind == PTRACED_PATH_SESSION || path.kind == PTRACED_PATH_PROCESS
               ? session_find(c->broker, path.session)
               : NULL;
}

/* Nothing is asked where the answer would change nothing. */
static void want_lists(const struct caller *c, struct permits *ret)
{
    const struct broker *b = c->broker;

    for (size_t i = 0; i < b->sessions.n; i++) {
        const struct session *s = b->sessions.items[i].value;

        if (s->uid != c->uid)
            ret->list_other = true;
        else if (!auth_may_see_processes(c, s))
            ret->list = true;
    }
}

/* A list is never asked about in a dialog. */
static bool needs_people(const struct permits *p)
{
    return p->manage || p->memory || p->events;
}

static bool wants(const struct permits *p)
{
    return p->list || p->list_other || p->manage || p->memory || p->events;
}

/* ---- Asking --------------------------------------------------------------------------------- */

static int ask_next(struct permit_wait *w, sd_bus_error *error);

static int explain(int r, sd_bus_error *error)
{
    return r >= 0 || sd_bus_error_is_set(error)
               ? r
               : sd_bus_error_set_errnof(error, r, "Cannot ask polkit: %s", strerror(-r));
}

static void come_back(struct permit_wait *w)
{
    int r = sd_bus_enqueue_for_read(w->caller->broker->bus, w->message);

    w->is_answered = true;
    if (r >= 0)
        return;
    sd_bus_reply_method_errno(w->message, r, NULL);
    wait_free(w);
}

static struct audit_question question_of(const struct permit_wait *w)
{
    return (struct audit_question){
        .action = w->action,
        .session = w->session,
        .pid = w->pid,
        .executable = w->executable,
        .access = w->wanted.memory || w->wanted.events ? w->access : NULL,
        .limit = w->limit,
        .value = w->value,
    };
}

static void refuse(struct permit_wait *w, enum polkit_verdict verdict, const char *why)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    const char *member = sd_bus_message_get_member(w->message);
    const struct audit_question q = question_of(w);
    char about[PTRACED_SESSION_ID_MAX + 64];

    if (w->limit)
        snprintf(about, sizeof(about), "the limit %s", w->limit);
    else if (w->pid > 0)
        snprintf(about, sizeof(about), "process %d", w->pid);
    else
        snprintf(about, sizeof(about), "session %s, which is not yours,", w->session);
    if (verdict == POLKIT_CHALLENGE)
        sd_bus_error_setf(
            &error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
            "%s of %s takes the polkit action %s, for which somebody has to authenticate, and the "
            "call does not allow to ask",
            member, about, w->action);
    else
        sd_bus_error_setf(&error, SD_BUS_ERROR_ACCESS_DENIED,
                          "%s of %s takes the polkit action %s, which polkit refuses%s%s", member,
                          about, w->action, why ? ": " : "", why ? why : "");
    audit_forbidden(w->caller, &q, error.message);
    sd_bus_reply_method_error(w->message, &error);
    wait_free(w);
}

/* It may have been forgotten meanwhile. */
static int give_events(const struct permit_wait *w)
{
    struct session *s = session_find(w->caller->broker, w->session);

    if (!s)
        return 0;
    LIST_FOREACH(struct attachment, a, &s->gone, of_session)
        if (a->id == w->attachment)
            return clearance_give(w->caller, a, ATTACH_NOTHING, a->observe);
    return 0;
}

static void on_answer(enum polkit_verdict verdict, const char *why, void *userdata)
{
    struct permit_wait *w = userdata;
    const struct audit_question q = question_of(w);
    bool is_needed = needs_people(&w->wanted);

    w->check = NULL;
    if (is_needed && verdict != POLKIT_YES) {
        refuse(w, verdict, why);
        return;
    }
    if (w->wanted.events && give_events(w) < 0) {
        sd_bus_reply_method_errno(w->message, -ENOMEM, NULL);
        wait_free(w);
        return;
    }
    if (verdict != POLKIT_YES)
        audit_forbidden(w->caller, &q,
                        why ? why : "polkit refuses, and what it would show is left out");
    else if (!w->limit) /* there will be an entry when it is set */
        audit_permitted(w->caller, &q);
    if (w->wanted.manage)
        w->got.manage = true;
    else if (w->wanted.memory)
        w->got.memory = true;
    else if (w->wanted.events)
        w->got.events = true;
    else if (w->wanted.list)
        w->got.list = verdict == POLKIT_YES;
    else
        w->got.list_other = verdict == POLKIT_YES;
    if (w->wanted.list && w->wanted.list_other)
        w->wanted.list = false;
    else
        w->wanted = (struct permits){0};
    if (!wants(&w->wanted) || ask_next(w, NULL) < 0)
        come_back(w);
}

/* For rules and dialogs: key, value, key, ..., NULL. */
struct details {
    const char *words[20];
    size_t n;
};

static void tell(struct details *d, const char *key, const char *value)
{
    if (!value || d->n + 2 >= ELEMENTSOF(d->words))
        return;
    d->words[d->n++] = key;
    d->words[d->n++] = value;
}

static const char *action_of(const struct permit_wait *w)
{
    if (w->wanted.manage)
        return PTRACED_ACTION_MANAGE;
    if (w->wanted.memory)
        return w->own ? PTRACED_ACTION_OPEN_MEMORY : PTRACED_ACTION_OPEN_MEMORY_OTHER;
    if (w->wanted.events)
        return w->own ? PTRACED_ACTION_OBSERVE : PTRACED_ACTION_OBSERVE_OTHER;
    return w->wanted.list ? PTRACED_ACTION_LIST : PTRACED_ACTION_LIST_OTHER;
}

static void tell_target(const struct permit_wait *w, struct details *d, const char *user)
{
    bool of_process = w->wanted.memory || w->wanted.events;

    tell(d, "session", w->wanted.manage && !w->limit ? w->session : NULL);
    tell(d, "pid", w->pids);
    tell(d, "executable", w->executable ? w->executable : of_process ? "a program" : NULL);
    if (!w->limit)
        tell(d, "user", w->user == (uid_t)-1 ? "unknown" : user);
    tell(d, "requester", *w->requester ? w->requester : "a program that has ended");
}

static const char *message_of(const struct permit_wait *w)
{
    if (w->wanted.events)
        return "Authentication is required to let $(requester) take events of $(executable) "
               "(process $(pid) of user $(user), which has ended)";
    if (w->limit)
        return "Authentication is required to let $(requester) set the limit $(limit) of the "
               "tracing service to $(value)";
    return w->wanted.manage && strcmp(w->access, PTRACED_ACCESS_LIST) == 0
               ? "Authentication is required to let $(requester) look at session $(session), in "
                 "which user $(user) traces"
               : NULL; /* the policy has it */
}

static int ask_next(struct permit_wait *w, sd_bus_error *error)
{
    struct details d = {0};
    char user[16], value[24];
    struct polkit_question q = {
        .subject = w->caller->name,
        .uid = w->caller->uid,
        .action = action_of(w),
        .details = d.words,
        .interactive = needs_people(&w->wanted) &&
                       sd_bus_message_get_allow_interactive_authorization(w->message) > 0,
    };

    snprintf(user, sizeof(user), "%u", w->user);
    snprintf(value, sizeof(value), "%" PRIu64, w->value);
    tell(&d, "method", sd_bus_message_get_member(w->message));
    tell(&d, "access", needs_people(&w->wanted) ? w->access : PTRACED_ACCESS_LIST);
    if (needs_people(&w->wanted))
        tell_target(w, &d, user);
    else if (w->wanted.list)
        tell(&d, "user", user);
    tell(&d, "limit", w->limit);
    tell(&d, "value", w->limit ? value : NULL);
    tell(&d, "polkit.message", message_of(w));
    w->action = q.action;
    return polkit_ask(w->caller->broker, &q, on_answer, w, &w->check, error);
}

static void on_requester(const char *comm, void *userdata)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    struct permit_wait *w = userdata;
    int r;

    w->requester_look = NULL;
    snprintf(w->requester, sizeof(w->requester), "%s", comm ? comm : "");
    r = explain(ask_next(w, &error), &error);
    if (r >= 0)
        return;
    audit_failed(w->caller, w->message, r, &error);
    sd_bus_reply_method_errno(w->message, r, &error);
    wait_free(w);
}

/* Only a dialog says who asks. */
static int ask_first(struct permit_wait *w, sd_bus_error *error)
{
    int r = 0;

    if (needs_people(&w->wanted))
        r = requester_look(w->caller, on_requester, w, &w->requester_look);
    return explain(r == 0 ? ask_next(w, error) : r, error);
}

/* ---- What it is about ----------------------------------------------------------------------- */

static int note_process(struct permit_wait *w, const struct attachment *a)
{
    const struct clearance *clearance = clearance_find(w->caller, a);

    w->pid = a->pid;
    w->user = a->uid;
    w->attachment = a->id;
    w->n_executed = a->n_executed;
    w->executable = a->executable ? strdup(a->executable) : NULL;
    w->is_of_gone = !a->tracee;
    w->own = a->tracee ? clearance && clearance->right == ATTACH_OWN : a->asks_own;
    return asprintf(&w->pids, "%d", a->pid) < 0 ? -ENOMEM : 0;
}

/* NULL: it is unknown, or just being asked about. */
static const char *program_of(const struct attachment *a)
{
    return a->is_asked_about ? NULL : a->executable;
}

/* All that it traces; which program it is where there is one alone. */
static int note_session(struct permit_wait *w, const struct session *s)
{
    const struct attachment *only = LIST_FIRST(&s->attachments, struct attachment, of_session);
    _cleanup_free_string_ char *pids = NULL;
    size_t size;
    FILE *f;

    snprintf(w->session, sizeof(w->session), "%s", s->id);
    w->owner = w->user = s->uid;
    if (!w->wanted.manage)
        return 0;
    f = open_memstream(&pids, &size);
    if (!f)
        return -ENOMEM;
    LIST_FOREACH(struct attachment, a, &s->attachments, of_session)
        fprintf(f, "%s%d", a == only ? "" : " ", a->pid);
    if (fclose(f) < 0)
        return -ENOMEM;
    w->pids = TAKE_PTR(pids);
    w->executable = s->n_attachments == 1 && program_of(only) ? strdup(program_of(only)) : NULL;
    return 0;
}

/* It is kept until it is answered, the keeper's answer too, and is of a few words. */
static int check_room(const struct caller *c, sd_bus_message *m, sd_bus_error *error)
{
    struct measure size;
    size_t n = 0;
    int r = measure_check(m, MEASURE_PERMIT, &size, error);

    if (r < 0)
        return r;
    if (size.n_fds > 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s takes no descriptor",
                                 sd_bus_message_get_member(m));
    LIST_FOREACH(struct caller, other, &c->broker->callers, callers)
        if (other->uid == c->uid)
            LIST_FOREACH(struct permit_wait, w, &other->permit_waits, permit_waits)
                n += !w->is_answered;
    return limit_check(LIMIT_QUESTIONS, n, error);
}

/* The attachment may be NULL. */
static int put_by(struct caller *c, sd_bus_message *m, const struct permits *wanted,
                  const struct session *s, const struct attachment *a, sd_bus_error *error)
{
    struct permit_wait *w;
    const char *limit;
    int r = check_room(c, m, error);

    if (r < 0)
        return r;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->caller = c;
    w->message = sd_bus_message_ref(m);
    w->wanted = *wanted;
    w->user = c->uid;
    w->access = permit_call_access(m, wanted);
    if (permit_call_sets_limit(m, &limit, &w->value)) {
        w->limit = strdup(limit);
        if (!w->limit) {
            wait_free(w);
            return -ENOMEM;
        }
    }
    list_append(&c->permit_waits, &w->permit_waits);
    if (s)
        r = note_session(w, s);
    if (r >= 0 && a)
        r = note_process(w, a);
    if (r >= 0)
        r = ask_first(w, error);
    if (r >= 0)
        return 1;
    wait_free(w);
    return r;
}

static struct permit_wait *find_answered(const struct caller *c, const sd_bus_message *m)
{
    LIST_FOREACH(struct permit_wait, w, &c->permit_waits, permit_waits)
        if (w->is_answered && w->message == m)
            return w;
    return NULL;
}

bool permit_has_come_back(const struct caller *c, const sd_bus_message *m)
{
    return find_answered(c, m) != NULL;
}

/* What was asked about may be gone, and another process have its number, or execute another
 * program. */
static int check_same(const struct permit_wait *w, sd_bus_error *error)
{
    struct session *s = session_find(w->caller->broker, w->session);
    const struct attachment *a = s ? attachment_find(s, w->pid, NULL) : NULL;

    if (w->attachment == 0 || w->is_of_gone ||
        (a && a->id == w->attachment && a->n_executed == w->n_executed))
        return 0;
    if (a && a->id == w->attachment) {
        sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_PERMITTED,
            "Process %d has executed another program since polkit was asked about it; "
            "try again",
            w->pid);
        audit_call_refused(w->caller, w->message, error->message);
        return -EACCES;
    }
    return sd_bus_error_setf(error, PTRACED_ERROR_NOT_ATTACHED,
                             "Session %s no longer traces the process %d that polkit was asked "
                             "about",
                             w->session, w->pid);
}

/* What other connections of a user have attached is asked about where it is used. */
static int authorize_first(struct caller *c, sd_bus_message *m, sd_bus_error *error)
{
    const struct attachment *a;
    struct ptraced_path path;
    struct session *s;
    int r;

    ptraced_path_parse(sd_bus_message_get_path(m), &path);
    s = path.kind == PTRACED_PATH_INVALID ? NULL : session_find(c->broker, path.session);
    a = s ? auth_lacks(c, s, m) : NULL;
    if (!a)
        return 0;
    if (a->tracee)
        return attach_authorize_first(s, c, m, a, error);
    r = attach_check_first(c, m, error);
    return r < 0 ? r : put_by(c, m, &(struct permits){.events = true}, s, a, error);
}

/* Nobody is asked about a program that the session may have lost already. */
static int refuse_meanwhile(const struct caller *c, sd_bus_message *m, const struct attachment *a,
                            sd_bus_error *error)
{
    int r = sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                              "Process %d has just executed another program, which polkit is being "
                              "asked about; try again",
                              a->pid);

    audit_call_refused(c, m, error->message);
    return r;
}

/* Nobody is asked, but a descriptor is for good; one of a mapped file is root's alone. */
static void tell_opened(const struct caller *c, sd_bus_message *m, const char *by)
{
    const struct permits memory = {.memory = true};
    pid_t pid;
    const struct session *s = session_of(c, m, &pid);
    const struct attachment *a = s && pid > 0 ? attachment_find(s, pid, NULL) : NULL;
    const struct audit_question q = {
        .action = by,
        .session = s ? s->id : "",
        .pid = pid,
        .executable = a ? a->executable : NULL,
        .access = permit_call_access(m, &memory),
    };

    if (a && (permit_call_opens_memory(m) ||
              sd_bus_message_is_method_call(m, PTRACED_PROCESS_INTERFACE, "OpenMappedFile")))
        audit_permitted(c, &q);
}

static void tell_root(const struct caller *c, sd_bus_message *m)
{
    pid_t pid;
    const struct session *s = session_of(c, m, &pid);
    const struct audit_question q = {.action = PTRACED_AUDIT_ROOT, .session = s ? s->id : ""};

    tell_opened(c, m, PTRACED_AUDIT_ROOT);
    if (s && pid == 0 && s->uid != c->uid && permit_call_ends(m))
        audit_permitted(c, &q);
}

int permit_first(struct caller *c, sd_bus_message *m, sd_bus_error *error)
{
    const struct attachment *a = NULL;
    struct permits wanted = {0};
    struct session *s;
    struct permit_wait *w = find_answered(c, m);
    const char *limit;
    uint64_t value;
    bool opens;
    pid_t pid;
    int r;

    c->permits = (struct permits){0};
    if (w) {
        bool again = w->is_of_gone; /* there may be more that it lacks */

        r = check_same(w, error);
        if (r >= 0)
            c->permits = w->got;
        wait_free(w);
        if (r < 0 || !again)
            return r;
    }
    if (c->broker->mode == BROKER_SYSTEM && auth_is_unlimited(c))
        tell_root(c, m);
    if (c->broker->mode != BROKER_SYSTEM || auth_is_unlimited(c))
        return 0;
    r = authorize_first(c, m, error);
    if (r != 0)
        return r;
    s = session_of(c, m, &pid);
    opens = s && pid > 0 && permit_call_opens_memory(m);
    a = opens ? attachment_find(s, pid, NULL) : NULL;
    if (opens && !a)
        c->permits.memory = auth_may_use_all(c, s); /* to be told that it does not trace that */
    opens = a && auth_may_use(c, a);
    if (opens && a->is_asked_about)
        return refuse_meanwhile(c, m, a, error);
    if (permit_call_is_list(m))
        want_lists(c, &wanted);
    else if (opens && clearance_find(c, a)->right == ATTACH_PROVEN) {
        tell_opened(c, m, PTRACED_OPTION_PROOF);
        c->permits.memory = true;
    } else
        wanted = (struct permits){
            .memory = opens,
            .manage = (s && pid == 0 && s->uid != c->uid && permit_call_manages(m)) ||
                      permit_call_sets_limit(m, &limit, &value)};
    return wants(&wanted) ? put_by(c, m, &wanted, s, opens ? a : NULL, error) : 0;
}

void permit_cancel(struct caller *c)
{
    c->permits = (struct permits){0};
    while (!list_empty(&c->permit_waits))
        wait_free(LIST_FIRST(&c->permit_waits, struct permit_wait, permit_waits));
}
