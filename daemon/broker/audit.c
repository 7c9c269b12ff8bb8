/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bus-api/audit.h"
#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit-entry.h"
#include "daemon/broker/audit-user.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"

static void add_caller(struct audit_entry *e, uid_t uid, const char *name)
{
    audit_entry_add(e, PTRACED_AUDIT_UID "=%u", uid);
    audit_entry_add(e, PTRACED_AUDIT_CALLER "=%s", name);
}

static const char *access_name(bool observe)
{
    return observe ? PTRACED_ACCESS_OBSERVE : PTRACED_ACCESS_CONTROL;
}

static void add_target(struct audit_entry *e, pid_t pid, const char *executable, bool observe)
{
    audit_entry_add(e, PTRACED_AUDIT_PID "=%d", pid);
    if (executable)
        audit_entry_add(e, PTRACED_AUDIT_EXECUTABLE "=%s", executable);
    audit_entry_add(e, PTRACED_AUDIT_ACCESS "=%s", access_name(observe));
}

static bool is_told(const struct broker *b)
{
    return b->mode != BROKER_EMBEDDED && b->event;
}

static uint64_t now_usec(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void begin_refusal(struct audit_entry *e, const struct caller *c, const char *what,
                          const char *why)
{
    audit_entry_begin(e, PTRACED_AUDIT_REFUSAL_ID, LOG_NOTICE);
    add_caller(e, c->uid, c->name);
    audit_entry_add(e, PTRACED_AUDIT_ACTION "=%s", what);
    audit_entry_add(e, PTRACED_AUDIT_COUNT "=1");
    audit_entry_add(e, PTRACED_AUDIT_REASON "=%s", why);
}

void audit_refused(const struct caller *c, const struct attach *a, const char *what,
                   const char *why)
{
    const struct audit_refusal refusal = {
        .caller = c->name,
        .action = what,
        .session = a->session->id,
        .pid = a->asked.pid,
        .executable = a->asked.executable,
    };
    struct audit_entry e;

    if (!is_told(c->broker) || !audit_user_refused(c->broker, c->uid, &refusal))
        return;
    begin_refusal(&e, c, what, why);
    audit_entry_add(&e, PTRACED_AUDIT_SESSION "=%s", a->session->id);
    add_target(&e, a->asked.pid, a->asked.executable, a->wish.observe);
    audit_entry_finish(&e, c->broker, "User %u (%s) may not %s process %d (%s): refused %s: %s",
                       c->uid, c->name, access_name(a->wish.observe), a->asked.pid,
                       a->asked.executable ? a->asked.executable : a->asked.comm, what, why);
}

/* In memory of its own, for a path is long; NULL: of nothing. */
static char *describe_object(const struct ptraced_path *path, const char *program)
{
    const char *open = program ? " (" : "", *close = program ? ")" : "";
    char *text = NULL;

    switch (path->kind) {
    case PTRACED_PATH_PROCESS:
    case PTRACED_PATH_THREAD_LIST:
    case PTRACED_PATH_THREAD:
        return asprintf(&text, " of process %d%s%s%s in session %s", path->pid, open,
                        program ? program : "", close, path->session) < 0
                   ? NULL
                   : text;
    case PTRACED_PATH_SESSION:
    case PTRACED_PATH_PROCESS_LIST:
        return asprintf(&text, " of session %s", path->session) < 0 ? NULL : text;
    case PTRACED_PATH_INVALID:
        break;
    }
    return NULL;
}

/* What a call is about, if that is traced. */
static const struct attachment *find_object(const struct caller *c, const struct ptraced_path *path)
{
    const struct session *s =
        path->kind == PTRACED_PATH_INVALID ? NULL : session_find(c->broker, path->session);

    return s && path->pid > 0 ? attachment_find(s, path->pid, NULL) : NULL;
}

static void tell_call(const struct caller *c, sd_bus_message *call, const char *why,
                      bool (*is_due)(struct broker *, uid_t, const struct audit_refusal *))
{
    _cleanup_free_string_ char *object = NULL;
    struct audit_refusal refusal = {
        .caller = c->name, .action = sd_bus_message_get_member(call), .session = ""};
    const struct attachment *a;
    struct ptraced_path path;
    struct audit_entry e;

    ptraced_path_parse(sd_bus_message_get_path(call), &path);
    a = find_object(c, &path);
    if (path.kind != PTRACED_PATH_INVALID) {
        refusal.session = path.session;
        refusal.pid = path.pid;
        refusal.executable = a ? a->executable : NULL;
    }
    if (!is_told(c->broker) || !is_due(c->broker, c->uid, &refusal))
        return;
    object = describe_object(&path, refusal.executable);
    begin_refusal(&e, c, refusal.action, why);
    if (*refusal.session)
        audit_entry_add(&e, PTRACED_AUDIT_SESSION "=%s", refusal.session);
    if (a)
        add_target(&e, a->pid, a->executable, a->observe);
    else if (refusal.pid > 0)
        audit_entry_add(&e, PTRACED_AUDIT_PID "=%d", refusal.pid);
    audit_entry_finish(&e, c->broker, "User %u (%s) is refused %s%s: %s", c->uid, c->name,
                       refusal.action, object ? object : "", why);
}

void audit_call_refused(const struct caller *c, sd_bus_message *call, const char *why)
{
    tell_call(c, call, why, audit_user_call_refused);
}

static bool is_refusal(const struct caller *c, const sd_bus_error *error)
{
    if (sd_bus_error_has_name(error, PTRACED_ERROR_LIMIT_EXCEEDED))
        return true;
    return !auth_is_unlimited(c) &&
           sd_bus_error_has_names(error, PTRACED_ERROR_INVALID_OPTION, SD_BUS_ERROR_INVALID_ARGS,
                                  PTRACED_ERROR_NO_SUCH_SESSION);
}

/* It may have been there a moment ago, or never. */
static bool is_missing(const struct caller *c, const sd_bus_error *error)
{
    return !auth_is_unlimited(c) &&
           sd_bus_error_has_names(error, SD_BUS_ERROR_UNKNOWN_OBJECT, PTRACED_ERROR_NO_SUCH_PROCESS,
                                  PTRACED_ERROR_NO_SUCH_THREAD, PTRACED_ERROR_NOT_ATTACHED);
}

int audit_failed(const struct caller *c, sd_bus_message *call, int r, const sd_bus_error *error)
{
    if (r < 0 && c && is_refusal(c, error))
        audit_call_refused(c, call, error->message);
    else if (r < 0 && c && is_missing(c, error))
        tell_call(c, call, error->message, audit_user_call_missed);
    return r;
}

/* What comes before the action. */
static const char *grounds(const char *action)
{
    if (strcmp(action, PTRACED_OPTION_PROOF) == 0)
        return "it has sent a";
    return strcmp(action, PTRACED_AUDIT_ROOT) == 0 ? "it is" : "polkit allows";
}

void audit_granted(const struct attach *a, const char *action)
{
    const struct caller *c = a->caller;
    struct audit_entry e;

    if (!is_told(a->broker))
        return;
    audit_entry_begin(&e, PTRACED_AUDIT_GRANT_ID, LOG_INFO);
    add_caller(&e, c->uid, c->name);
    add_target(&e, a->asked.pid, a->asked.executable, a->wish.observe);
    audit_entry_add(&e, PTRACED_AUDIT_ACTION "=%s", action);
    audit_entry_finish(&e, a->broker, "User %u (%s) may %s process %d (%s): %s %s", c->uid, c->name,
                       access_name(a->wish.observe), a->asked.pid,
                       a->asked.executable ? a->asked.executable : a->asked.comm, grounds(action),
                       action);
}

void audit_renewed(const struct clearance *by, const struct target *t, const char *action,
                   enum polkit_verdict verdict)
{
    const struct caller *c = by->caller;
    const char *program = t->executable ? t->executable : t->comm;
    const struct audit_refusal refusal = {
        .caller = c->name,
        .action = action,
        .session = by->attachment->session->id,
        .pid = t->pid,
        .executable = program,
    };
    bool granted = verdict == POLKIT_YES;
    const char *said = granted                         ? "allows"
                       : verdict == POLKIT_UNAVAILABLE ? "has not answered about"
                                                       : "refuses";
    struct audit_entry e;

    if (!is_told(c->broker) || !(granted ? audit_user_permitted(c->broker, c->uid)
                                         : audit_user_refused(c->broker, c->uid, &refusal)))
        return;
    audit_entry_begin(&e, granted ? PTRACED_AUDIT_GRANT_ID : PTRACED_AUDIT_REFUSAL_ID,
                      granted ? LOG_INFO : LOG_NOTICE);
    add_caller(&e, c->uid, c->name);
    audit_entry_add(&e, PTRACED_AUDIT_SESSION "=%s", by->attachment->session->id);
    audit_entry_add(&e, PTRACED_AUDIT_ACTION "=%s", action);
    if (!granted) {
        audit_entry_add(&e, PTRACED_AUDIT_COUNT "=1");
        audit_entry_add(&e, PTRACED_AUDIT_REASON "=polkit %s %s", said, action);
    }
    add_target(&e, t->pid, program, by->observe);
    audit_entry_finish(&e, c->broker,
                       "User %u (%s) may %s %s process %d, which has executed %s: polkit %s %s",
                       c->uid, c->name, granted ? "still" : "no longer", access_name(by->observe),
                       t->pid, program, said, action);
}

static void add_question(struct audit_entry *e, const struct caller *c,
                         const struct audit_question *q)
{
    add_caller(e, c->uid, c->name);
    audit_entry_add(e, PTRACED_AUDIT_ACTION "=%s", q->action);
    if (*q->session)
        audit_entry_add(e, PTRACED_AUDIT_SESSION "=%s", q->session);
    if (q->pid > 0)
        audit_entry_add(e, PTRACED_AUDIT_PID "=%d", q->pid);
    if (q->executable)
        audit_entry_add(e, PTRACED_AUDIT_EXECUTABLE "=%s", q->executable);
    if (q->access)
        audit_entry_add(e, PTRACED_AUDIT_ACCESS "=%s", q->access);
    if (q->limit) {
        audit_entry_add(e, PTRACED_AUDIT_LIMIT "=%s", q->limit);
        audit_entry_add(e, PTRACED_AUDIT_VALUE "=%" PRIu64, q->value);
    }
}

static const char *describe(const struct audit_question *q, char text[static 1024])
{
    if (q->limit)
        snprintf(text, 1024, "set the limit %s", q->limit);
    else if (q->pid > 0)
        snprintf(text, 1024, "use process %d (%s)", q->pid,
                 q->executable ? q->executable : "a program");
    else if (*q->session)
        snprintf(text, 1024, "manage session %s", q->session);
    else
        snprintf(text, 1024, "see what %s",
                 strcmp(q->action, PTRACED_ACTION_LIST) == 0 ? "its user traces" : "others trace");
    return text;
}

void audit_permitted(const struct caller *c, const struct audit_question *q)
{
    struct broker *b = c->broker;
    struct audit_entry e;
    char text[1024];

    if (!is_told(b) ||
        !(*q->session ? audit_user_permitted(b, c->uid) : audit_user_listed(b, c->uid, q->action)))
        return;
    audit_entry_begin(&e, PTRACED_AUDIT_GRANT_ID, LOG_INFO);
    add_question(&e, c, q);
    audit_entry_finish(&e, b, "User %u (%s) may %s: %s %s", c->uid, c->name, describe(q, text),
                       grounds(q->action), q->action);
}

void audit_forbidden(const struct caller *c, const struct audit_question *q, const char *why)
{
    struct broker *b = c->broker;
    const struct audit_refusal refusal = {
        .caller = c->name,
        .action = q->action,
        .session = q->session,
        .pid = q->pid,
        .executable = q->executable,
    };
    struct audit_entry e;
    bool of_list = !*q->session && !q->limit;
    char text[1024];

    if (!is_told(b) || !(of_list ? audit_user_list_refused(b, c->uid, &refusal)
                                 : audit_user_refused(b, c->uid, &refusal)))
        return;
    audit_entry_begin(&e, PTRACED_AUDIT_REFUSAL_ID, LOG_NOTICE);
    add_question(&e, c, q);
    audit_entry_add(&e, PTRACED_AUDIT_COUNT "=1");
    audit_entry_add(&e, PTRACED_AUDIT_REASON "=%s", why);
    audit_entry_finish(&e, b, "User %u (%s) may not %s: refused %s: %s", c->uid, c->name,
                       describe(q, text), q->action, why);
}

void audit_limit_set(const struct caller *c, const char *name, unsigned value, unsigned before)
{
    struct audit_entry e;

    if (!is_told(c->broker) || (!auth_is_unlimited(c) && !audit_user_permitted(c->broker, c->uid)))
        return;
    audit_entry_begin(&e, PTRACED_AUDIT_GRANT_ID, LOG_NOTICE);
    add_caller(&e, c->uid, c->name);
    audit_entry_add(&e, PTRACED_AUDIT_ACTION "=" PTRACED_ACTION_MANAGE);
    audit_entry_add(&e, PTRACED_AUDIT_LIMIT "=%s", name);
    audit_entry_add(&e, PTRACED_AUDIT_VALUE "=%u", value);
    audit_entry_finish(&e, c->broker, "User %u (%s) has set the limit %s to %u (it was %u)", c->uid,
                       c->name, name, value, before);
}

/* A session that has it already may still trace what it could. */
static void note_attach(struct attachment *a, const struct attach *by, bool is_new)
{
    a->uid = by->target.uids[0];
    a->observe = by->wish.observe;
    a->plain = target_is_plain(by->asked.pid ? &by->asked : &by->target, a->session->uid) &&
               (is_new || a->plain);
    a->asks_anew = is_new ? by->grant == ATTACH_OTHER : a->asks_anew;
    a->asks_own = a->plain && by->grant != ATTACH_OTHER && by->asked.yama_scope < 2;
}

void audit_attached(struct attachment *a, const struct attach *by)
{
    const struct session *s = a->session;
    const char *name = by && by->caller ? by->caller->name : s->holder;
    bool is_new = a->since_usec == 0;
    struct audit_entry e;

    a->since_usec = now_usec();
    if (by)
        note_attach(a, by, is_new);
    if (!is_told(s->broker))
        return;
    a->is_counted = !by && !audit_user_followed(s->broker, s->uid);
    if (a->is_counted)
        return;
    audit_entry_begin(&e, PTRACED_AUDIT_ATTACH_ID, LOG_INFO);
    add_caller(&e, by && by->caller ? by->caller->uid : s->uid, name);
    audit_entry_add(&e, PTRACED_AUDIT_SESSION "=%s", s->id);
    add_target(&e, a->tracee->pid, a->executable, a->observe);
    audit_entry_finish(&e, s->broker, "Session %s of user %u (%s) traces process %d (%s)", s->id,
                       s->uid, name, a->tracee->pid,
                       !by             ? "a child"
                       : a->executable ? a->executable
                                       : by->target.comm);
}

static bool is_loss(const char *why)
{
    return strcmp(why, "privilege") == 0 || strcmp(why, "limit") == 0 || strcmp(why, "tracer") == 0;
}

/* Whose session it is has an entry with its own name. */
static bool is_by_another(const struct attachment *a, const char *why)
{
    return a->releaser && strcmp(a->releaser, a->session->holder) != 0 &&
           (strcmp(why, "detached") == 0 || strcmp(why, "closed") == 0);
}

static void add_releaser(struct audit_entry *e, const struct attachment *a, char text[static 300])
{
    audit_entry_add(e, PTRACED_AUDIT_BY_UID "=%u", a->releaser_uid);
    audit_entry_add(e, PTRACED_AUDIT_BY "=%s", a->releaser);
    snprintf(text, 300, " by user %u (%s)", a->releaser_uid, a->releaser);
}

void audit_released(const struct attachment *a, const char *why)
{
    const struct session *s = a->session;
    bool lost = is_loss(why);
    uint64_t usec = a->since_usec ? now_usec() - a->since_usec : 0;
    char after[48] = "", by[300] = "";
    struct audit_entry e;

    if (!is_told(s->broker))
        return;
    if (a->is_counted) {
        audit_user_released(s->broker, s->uid);
        return;
    }
    audit_entry_begin(&e, lost ? PTRACED_AUDIT_LOSS_ID : PTRACED_AUDIT_RELEASE_ID,
                      lost ? LOG_NOTICE : LOG_INFO);
    add_caller(&e, s->uid, s->holder);
    audit_entry_add(&e, PTRACED_AUDIT_SESSION "=%s", s->id);
    add_target(&e, a->tracee->pid, a->executable, a->observe);
    audit_entry_add(&e, PTRACED_AUDIT_REASON "=%s", why);
    if (a->since_usec) {
        audit_entry_add(&e, PTRACED_AUDIT_USEC "=%" PRIu64, usec);
        snprintf(after, sizeof(after), " after %" PRIu64 ".%03" PRIu64 " s", usec / 1000000,
                 usec / 1000 % 1000);
    }
    if (is_by_another(a, why))
        add_releaser(&e, a, by);
    audit_entry_finish(&e, s->broker, "Session %s of user %u %s process %d%s: %s%s", s->id, s->uid,
                       lost ? "has lost" : "has released", a->tracee->pid, after, why, by);
}
