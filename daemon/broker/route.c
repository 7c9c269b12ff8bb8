/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "bus-api/paths.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/copy.h"
#include "daemon/broker/events.h"
#include "daemon/broker/flight.h"
#include "daemon/broker/kept.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/measure.h"
#include "daemon/broker/route.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* A call that a tracer is to answer. The tracer outlives it. */
struct routed {
    struct tracer *tracer;
    struct session *session;
    sd_bus_message *call;
    pid_t pid;
    bool is_permitted;   /* for one program: permit.h */
    uint64_t n_executed; /* then */
    struct flight *flight;
};

static struct routed *routed_free(struct routed *d)
{
    if (!d)
        return NULL;
    flight_end(d->flight);
    session_unref(d->session);
    sd_bus_message_unref(d->call);
    free(d);
    return NULL;
}

static void routed_freep(struct routed **d)
{
    routed_free(*d);
}

/* In place of what it may have taken. */
static int count_file(struct routed *d, sd_bus_message *answer, sd_bus_error *error)
{
    struct broker *b = d->session->broker;
    const uid_t uid = d->flight->file_uid;
    const bool is_counted = d->flight->file_mib > 0;

    flight_end(TAKE_PTR(d->flight));
    return is_counted ? kept_add(&b->kept, uid, flight_count_file_mib(b, uid), answer, error) : 0;
}

static int copy_answer(struct routed *d, sd_bus_message *answer, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    sd_bus_message *call = d->call;
    struct caller *c = caller_of(d->session->broker, call); /* NULL: it has left */
    struct measure size;
    int r;

    r = measure_body(answer, SIZE_MAX, &size);
    if (r >= 0 && c)
        r = flow_check_answer(c, size.n_bytes, size.n_fds, error);
    if (r >= 0)
        r = count_file(d, answer, error);
    if (r < 0)
        return r;
    r = sd_bus_message_new_method_return(call, &reply);
    if (r >= 0)
        r = copy_body(reply, answer);
    if (r >= 0)
        r = sd_bus_message_send(reply);
    if (r >= 0 && c)
        flow_answered(c, size.n_bytes, size.n_fds);
    return r;
}

/* It says what somebody else has written. */
static void charge_error(const struct routed *d, const sd_bus_error *error)
{
    struct caller *c = caller_of(d->session->broker, d->call);

    if (c)
        flow_answered(c, strlen(error->message), 0);
}

/* By the tracer: an observer is refused what takes control, and there are limits of its own. */
static void tell_refusal(const struct routed *d, const sd_bus_error *error)
{
    const struct caller *c = caller_of(d->session->broker, d->call);

    if (c && sd_bus_error_has_name(error, PTRACED_ERROR_NOT_PERMITTED))
        audit_call_refused(c, d->call, error->message);
    else
        audit_failed(c, d->call, -ECANCELED, error);
}

/* Of a process or a thread, which may be its last. */
static void set_releaser(const struct routed *d, const struct caller *c)
{
    struct attachment *a = d->session->closed ? NULL : attachment_find(d->session, d->pid, NULL);

    if (a && strcmp(sd_bus_message_get_member(d->call), "Detach") == 0)
        attachment_set_releaser(a, c);
}

/* The process may have executed another program before the tracer had the call. */
static int check_program(const struct routed *d, sd_bus_error *error)
{
    const struct attachment *a = attachment_find(d->session, d->pid, d->tracer);

    if (!d->is_permitted || (a && a->n_executed == d->n_executed))
        return 0;
    return sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                             "Process %d has executed another program since this was permitted, "
                             "or is no longer traced; try again",
                             d->pid);
}

static int answer_call(struct routed *d, sd_bus_message *answer, sd_bus_error *error)
{
    int r = check_program(d, error);

    if (r >= 0)
        return copy_answer(d, answer, error);
    tell_refusal(d, error);
    return r;
}

static void on_answer(sd_bus_message *answer, const sd_bus_error *error, void *userdata)
{
    _cleanup_(routed_freep) struct routed *d = userdata;
    _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
    int r;

    d->tracer->n_routed--;
    if (error && sd_bus_error_has_name(error, PTRACED_ERROR_TIMED_OUT))
        flight_linger(TAKE_PTR(d->flight));
    if (answer && !d->session->closed &&
        sd_bus_message_is_method_call(d->call, PTRACED_PROCESS_INTERFACE, "Detach"))
        events_forget(d->session, d->pid);
    set_releaser(d, NULL);

    if (error)
        tell_refusal(d, error);
    if (!sd_bus_message_get_expect_reply(d->call))
        return;
    if (error && error->message)
        charge_error(d, error);
    r = error ? sd_bus_reply_method_error(d->call, error) : answer_call(d, answer, &failure);
    audit_failed(caller_of(d->session->broker, d->call), d->call, r, &failure);
    if (r < 0)
        sd_bus_reply_method_errno(d->call, r, &failure);
}

static int copy_call(struct tracer *t, sd_bus_message *call, sd_bus_message **ret)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    int r;

    r = sd_bus_message_new_method_call(t->wire.bus, &m, NULL, sd_bus_message_get_path(call),
                                       sd_bus_message_get_interface(call),
                                       sd_bus_message_get_member(call));
    if (r < 0)
        return r;
    r = copy_body(m, call);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(m);
    return 0;
}

static int refuse_descriptor(const struct caller *c, sd_bus_message *call, sd_bus_error *error)
{
    const char *member = sd_bus_message_get_member(call);
    int r = sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s takes no descriptor", member);

    audit_call_refused(c, call, error->message);
    return r;
}

/* What a call carries is kept until it is answered, once as it came and once as it goes on. */
static int check_size(const struct session *s, const struct caller *c, sd_bus_message *call,
                      size_t *ret_bytes, sd_bus_error *error)
{
    struct measure size;
    int r = measure_check(call, measure_limit_of(call, auth_is_unlimited(c)), &size, error);

    if (r < 0)
        return r;
    if (size.n_fds > 0)
        return refuse_descriptor(c, call, error);
    *ret_bytes = size.n_bytes;
    if (auth_is_unlimited(c) || flight_count_bytes(s->broker, s->uid) + size.n_bytes <=
                                    (size_t)limit_value(LIMIT_FLIGHT) * 1024)
        return 0;
    return limit_check(LIMIT_FLIGHT, SIZE_MAX, error);
}

/* Of whose files there are limits. */
static int check_file(const struct session *s, const struct caller *c, sd_bus_message *call,
                      unsigned *ret_mib, sd_bus_error *error)
{
    struct broker *b = s->broker;

    *ret_mib = auth_is_unlimited(c) ? 0 : kept_measure_call(call);
    return *ret_mib == 0
               ? 0
               : kept_check(&b->kept, c->uid, flight_count_file_mib(b, c->uid), *ret_mib, error);
}

/* An answer may be a megabyte of memory, and is kept until it is read. */
static int check_room(const struct broker *b, struct tracer *t, pid_t pid, sd_bus_error *error)
{
    uint64_t unread = 0;
    int r = limit_check(LIMIT_ROUTED, t->n_routed, error);

    if (r >= 0)
        r = tracer_check_takes(t, pid, error);
    if (r < 0)
        return r;
    (void)sd_bus_get_n_queued_write(b->bus, &unread);
    return limit_check(LIMIT_UNREAD, unread, error);
}

static int forward(struct caller *c, const struct attachment *a, sd_bus_message *call,
                   sd_bus_error *error)
{
    _cleanup_(routed_freep) struct routed *d = NULL;
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct session *s = a->session;
    struct tracer *t = a->tracee->tracer;
    pid_t pid = a->pid;
    unsigned file_mib = 0;
    size_t n_bytes = 0;
    int r;

    r = check_room(s->broker, t, pid, error);
    if (r >= 0)
        r = check_size(s, c, call, &n_bytes, error);
    if (r >= 0)
        r = check_file(s, c, call, &file_mib, error);
    if (r < 0)
        return r;
    r = copy_call(t, call, &m);
    if (r < 0)
        return tracer_explain(r, pid, error);
    d = malloc(sizeof(*d));
    if (!d)
        return -ENOMEM;
    *d = (struct routed){
        .tracer = t,
        .session = session_ref(s),
        .call = sd_bus_message_ref(call),
        .pid = pid,
        .is_permitted = c->permits.memory,
        .n_executed = a->n_executed,
    };
    r = flight_begin(s->broker, t, s->uid, n_bytes, &d->flight);
    if (r < 0)
        return r;
    d->flight->file_uid = c->uid;
    d->flight->file_mib = file_mib;
    r = tracer_call(t, m, s->broker->tracer_timeout_usec, pid, on_answer, d);
    if (r < 0)
        return tracer_explain(r, pid, error);
    t->n_routed++;
    set_releaser(d, c);
    TAKE_PTR(d);
    return 1;
}

/* The one method of a thread that the broker answers itself, for it knows what has been taken from
 * the queue. */
static int thread_get_event(struct session *s, struct caller *c, const struct ptraced_path *path,
                            sd_bus_message *call, sd_bus_error *error)
{
    uint64_t timeout_usec;
    int r;

    if (!sd_bus_message_has_signature(call, "t"))
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                "GetEvent takes one argument, timeout_usec, of type t");
    r = sd_bus_message_read(call, "t", &timeout_usec);
    if (r < 0)
        return r;
    r = auth_check(c, s, call, error);
    if (r < 0)
        return r;
    return events_get(s, c, call, path->pid, path->tid, timeout_usec, error);
}

static int route(struct session *s, struct caller *c, const struct ptraced_path *path,
                 sd_bus_message *call, sd_bus_error *error)
{
    struct attachment *a;
    int r;

    if (path->kind == PTRACED_PATH_THREAD &&
        sd_bus_message_is_method_call(call, PTRACED_THREAD_INTERFACE, "GetEvent"))
        return thread_get_event(s, c, path, call, error);

    r = auth_check(c, s, call, error);
    if (r < 0)
        return r;
    a = attachment_find(s, path->pid, NULL);
    if (!a)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_ATTACHED,
                                 "Session %s does not trace process %d", s->id, path->pid);
    return forward(c, a, call, error);
}

static int refuse_path(struct broker *b, struct caller *c, sd_bus_message *call,
                       sd_bus_error *error)
{
    static const char prefix[] = PTRACED_SESSION_PREFIX "/";
    const char *id = sd_bus_message_get_path(call) + strlen(prefix);
    char first[PTRACED_SESSION_ID_MAX + 1];
    size_t n = strcspn(id, "/");
    int r;

    r = auth_check(c, NULL, call, error);
    if (r < 0)
        return r;
    n = n < sizeof(first) ? n : sizeof(first) - 1;
    memcpy(first, id, n);
    first[n] = '\0';
    if (session_find(b, first))
        return sd_bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_OBJECT, "There is no object %s",
                                 sd_bus_message_get_path(call));
    return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_SESSION, "There is no session %s", first);
}

/* For what sd-bus answers from our vtables. The methods of Session check for themselves, once they
 * have read what is asked. */
static int check_standard(const struct caller *c, const struct session *s, sd_bus_message *m,
                          sd_bus_error *error)
{
    int r;

    if (sd_bus_message_is_method_call(m, PTRACED_SESSION_INTERFACE, NULL))
        return 0;
    r = auth_check(c, s, m, error);
    return r < 0 ? r : 0;
}

static int handle(struct broker *b, struct caller *c, sd_bus_message *m, sd_bus_error *error)
{
    struct ptraced_path path;
    struct session *s;

    if (strcmp(sd_bus_message_get_path(m), PTRACED_SESSION_PREFIX) == 0)
        return check_standard(c, NULL, m, error);
    ptraced_path_parse(sd_bus_message_get_path(m), &path);
    s = path.kind == PTRACED_PATH_INVALID ? NULL : session_find(b, path.session);
    if (!s)
        return refuse_path(b, c, m, error);

    switch (path.kind) {
    case PTRACED_PATH_SESSION:
    case PTRACED_PATH_PROCESS_LIST:
        return check_standard(c, s, m, error);
    case PTRACED_PATH_PROCESS:
    case PTRACED_PATH_THREAD_LIST:
    case PTRACED_PATH_THREAD:
        return route(s, c, &path, m, error);
    case PTRACED_PATH_INVALID:
        break;
    }
    return 0;
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct broker *b = userdata;
    struct caller *c = caller_of(b, m);

    return audit_failed(c, m, handle(b, c, m, error), error);
}

int route_add(struct broker *b)
{
    return sd_bus_add_fallback(b->bus, NULL, PTRACED_SESSION_PREFIX, on_call, b);
}
