/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include <systemd/sd-event.h>

#include "bus-api/audit.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"

#define FIELDS_MAX 16u
#define REFUSALS_USEC (10 * UINT64_C(1000000))
#define REFUSED_USERS_MAX 64u

/* ---- An entry ------------------------------------------------------------------------------- */

struct entry {
    struct iovec fields[FIELDS_MAX];
    size_t n;
    int level;
};

/* Without memory for it the entry is shorter. */
__attribute__((__format__(__printf__, 2, 3))) static void add(struct entry *e, const char *format,
                                                              ...)
{
    char *field;
    va_list ap;
    int n;

    if (e->n == FIELDS_MAX)
        return;
    va_start(ap, format);
    n = vasprintf(&field, format, ap);
    va_end(ap);
    if (n >= 0)
        e->fields[e->n++] = (struct iovec){field, (size_t)n};
}

static void begin(struct entry *e, const char *id, int level)
{
    *e = (struct entry){.level = level};
    add(e, "MESSAGE_ID=%s", id);
}

static void add_caller(struct entry *e, uid_t uid, const char *name)
{
    add(e, PTRACED_AUDIT_UID "=%u", uid);
    add(e, PTRACED_AUDIT_CALLER "=%s", name);
}

static const char *access_name(bool observe)
{
    return observe ? PTRACED_ACCESS_OBSERVE : PTRACED_ACCESS_CONTROL;
}

static void add_target(struct entry *e, pid_t pid, const char *executable, bool observe)
{
    add(e, PTRACED_AUDIT_PID "=%d", pid);
    if (executable)
        add(e, PTRACED_AUDIT_EXECUTABLE "=%s", executable);
    add(e, PTRACED_AUDIT_ACCESS "=%s", access_name(observe));
}

/* Its last field is the message. */
__attribute__((__format__(__printf__, 3, 4))) static void finish(struct entry *e, struct broker *b,
                                                                 const char *format, ...)
{
    char message[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(message, sizeof(message), format, ap);
    va_end(ap);
    log_entry(&b->log, e->level, message, e->fields, (int)e->n);
    for (size_t i = 0; i < e->n; i++)
        free(e->fields[i].iov_base);
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

/* ---- Refusals ------------------------------------------------------------------------------- */

struct refusals {
    struct list refusals; /* of the audit */
    struct broker *broker;
    uid_t uid;
    unsigned n; /* since the last entry */
    sd_event_source *timer;
};

static void refusals_free(struct refusals *r)
{
    list_remove(&r->refusals);
    r->broker->audit.n_refusals--;
    sd_event_source_disable_unref(r->timer);
    free(r);
}

static void tell_count(struct refusals *r)
{
    struct entry e;

    if (r->n == 0)
        return;
    begin(&e, PTRACED_AUDIT_REFUSAL_ID, LOG_NOTICE);
    add(&e, PTRACED_AUDIT_UID "=%u", r->uid);
    add(&e, PTRACED_AUDIT_COUNT "=%u", r->n);
    finish(&e, r->broker, "User %u was refused %u more times", r->uid, r->n);
    r->n = 0;
}

static int on_refusals(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct refusals *r = userdata;

    if (r->n == 0) {
        refusals_free(r);
        return 0;
    }
    tell_count(r);
    (void)sd_event_source_set_time_relative(source, REFUSALS_USEC);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static struct refusals *refusals_find(const struct broker *b, uid_t uid)
{
    LIST_FOREACH(struct refusals, r, &b->audit.refusals, refusals)
        if (r->uid == uid)
            return r;
    return NULL;
}

static void refusals_new(struct broker *b, uid_t uid)
{
    struct refusals *r = b->audit.n_refusals < REFUSED_USERS_MAX ? calloc(1, sizeof(*r)) : NULL;

    if (!r)
        return;
    r->broker = b;
    r->uid = uid;
    list_append(&b->audit.refusals, &r->refusals);
    b->audit.n_refusals++;
    if (sd_event_add_time_relative(b->event, &r->timer, CLOCK_MONOTONIC, REFUSALS_USEC,
                                   REFUSALS_USEC / 10, on_refusals, r) < 0)
        refusals_free(r);
}

/* Whether it is counted, and need not be written. */
static bool is_counted(struct broker *b, uid_t uid)
{
    struct refusals *r = refusals_find(b, uid);

    if (r) {
        r->n++;
        return true;
    }
    refusals_new(b, uid);
    return false;
}

void audit_init(struct audit *a)
{
    list_init(&a->refusals);
}

void audit_done(struct audit *a)
{
    struct refusals *r;

    while ((r = LIST_FIRST(&a->refusals, struct refusals, refusals))) {
        tell_count(r);
        refusals_free(r);
    }
}

void audit_refused(const struct caller *c, const struct attach *a, const char *what)
{
    struct broker *b = c->broker;
    struct entry e;

    if (!is_told(b) || is_counted(b, c->uid))
        return;
    begin(&e, PTRACED_AUDIT_REFUSAL_ID, LOG_NOTICE);
    add_caller(&e, c->uid, c->name);
    add(&e, PTRACED_AUDIT_ACTION "=%s", what);
    add(&e, PTRACED_AUDIT_COUNT "=1");
    if (a)
        add_target(&e, a->asked.pid, a->asked.executable, a->wish.observe);
    if (a)
        finish(&e, b, "User %u (%s) may not %s process %d (%s): refused %s", c->uid, c->name,
               access_name(a->wish.observe), a->asked.pid,
               a->asked.executable ? a->asked.executable : a->asked.comm, what);
    else
        finish(&e, b, "User %u (%s) is refused %s", c->uid, c->name, what);
}

/* ---- All else ------------------------------------------------------------------------------- */

void audit_granted(const struct attach *a, const char *action)
{
    const struct caller *c = a->caller;
    struct entry e;

    if (!is_told(a->broker))
        return;
    begin(&e, PTRACED_AUDIT_GRANT_ID, LOG_INFO);
    add_caller(&e, c->uid, c->name);
    add_target(&e, a->asked.pid, a->asked.executable, a->wish.observe);
    add(&e, PTRACED_AUDIT_ACTION "=%s", action);
    finish(&e, a->broker, "User %u (%s) may %s process %d (%s): polkit allows %s", c->uid, c->name,
           access_name(a->wish.observe), a->asked.pid,
           a->asked.executable ? a->asked.executable : a->asked.comm, action);
}

static void note_attach(struct attachment *a, const struct attach *by)
{
    const char *executable = by->asked.executable ? by->asked.executable : by->target.executable;

    a->executable = executable ? strdup(executable) : NULL;
    a->observe = by->wish.observe;
}

void audit_attached(struct attachment *a, const struct attach *by)
{
    const struct session *s = a->session;
    const char *name = by && by->caller ? by->caller->name : s->holder;
    struct entry e;

    a->since_usec = now_usec();
    if (by)
        note_attach(a, by);
    if (!is_told(s->broker))
        return;
    begin(&e, PTRACED_AUDIT_ATTACH_ID, LOG_INFO);
    add_caller(&e, by && by->caller ? by->caller->uid : s->uid, name);
    add(&e, PTRACED_AUDIT_SESSION "=%s", s->id);
    add_target(&e, a->tracee->pid, a->executable, a->observe);
    finish(&e, s->broker, "Session %s of user %u (%s) traces process %d (%s)", s->id, s->uid, name,
           a->tracee->pid,
           a->executable ? a->executable
           : by          ? by->target.comm
                         : "a child");
}

static bool is_loss(const char *why)
{
    return strcmp(why, "privilege") == 0 || strcmp(why, "limit") == 0 || strcmp(why, "tracer") == 0;
}

void audit_released(const struct attachment *a, const char *why)
{
    const struct session *s = a->session;
    bool lost = is_loss(why);
    uint64_t usec = a->since_usec ? now_usec() - a->since_usec : 0;
    char after[48] = "";
    struct entry e;

    if (!is_told(s->broker))
        return;
    begin(&e, lost ? PTRACED_AUDIT_LOSS_ID : PTRACED_AUDIT_RELEASE_ID,
          lost ? LOG_NOTICE : LOG_INFO);
    add_caller(&e, s->uid, s->holder);
    add(&e, PTRACED_AUDIT_SESSION "=%s", s->id);
    add_target(&e, a->tracee->pid, a->executable, a->observe);
    add(&e, PTRACED_AUDIT_REASON "=%s", why);
    if (a->since_usec) {
        add(&e, PTRACED_AUDIT_USEC "=%" PRIu64, usec);
        snprintf(after, sizeof(after), " after %" PRIu64 ".%03" PRIu64 " s", usec / 1000000,
                 usec / 1000 % 1000);
    }
    finish(&e, s->broker, "Session %s of user %u %s process %d%s: %s", s->id, s->uid,
           lost ? "has lost" : "has released", a->tracee->pid, after, why);
}
