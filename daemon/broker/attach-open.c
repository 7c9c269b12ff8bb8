/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-id128.h>

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
#include "daemon/broker/events.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/session.h"
#include "daemon/broker/share.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* The last steps of a request: OpenSession and Attach, at the tracer that holds the process. */

static void fail_errno(struct attach *a, int r)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    r = tracer_explain(r, a->target.pid, &error);
    attach_fail_with(a, r, &error);
}

static void on_undone(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct broker *b = userdata;

    if (error)
        log_debug(&b->log, "Detaching for a caller that has left failed, ignoring: %s",
                  error->message);
}

/* The caller has left, or has been told that it failed. */
static int undo(struct attach *a, struct tracer *t)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    char path[PTRACED_PATH_MAX];
    int r;

    if (a->tid)
        ptraced_path_thread(path, a->session->id, a->target.pid, a->tid);
    else
        ptraced_path_process(path, a->session->id, a->target.pid);
    r = sd_bus_message_new_method_call(
        t->wire.bus, &m, NULL, path, a->tid ? PTRACED_THREAD_INTERFACE : PTRACED_PROCESS_INTERFACE,
        "Detach");
    if (r < 0)
        return r;
    return tracer_call(t, m, WIRE_NO_TIMEOUT, a->target.pid, on_undone, a->broker);
}

static int reply_attached(struct attach *a, bool added)
{
    char path[PTRACED_PATH_MAX];

    if (a->tid)
        return sd_bus_reply_method_return(
            a->call, "ob", ptraced_path_thread(path, a->session->id, a->target.pid, a->tid),
            (int)added);
    return sd_bus_reply_method_return(a->call, "o",
                                      ptraced_path_process(path, a->session->id, a->target.pid));
}

/* Another request of the session for the same process has followed ours to the tracer, and is about
 * to be told that it is attached. */
static bool is_wanted_by_another(const struct attach *a)
{
    LIST_FOREACH(struct attach, other, &a->broker->attaches, attaches)
        if (other->session == a->session && other->tracee == a->tracee && !other->answered)
            return true;
    return false;
}

/* What somebody else has attached before is the caller's too from now on, who was authorised for
 * it. A session that observed the process may have control of it now. */
static int note_attached(struct attach *a, sd_bus_error *error)
{
    struct attachment *attachment = attachment_find(a->session, a->target.pid, a->tracee->tracer);
    struct caller *c;
    int r;

    if (!attachment)
        return 0;
    if (attachment->observe && !a->wish.observe)
        audit_attached(attachment, a);
    c = a->caller ? a->caller : a->session->creator; /* it has been told of a time-out, or left */
    if (!c)
        return 0;
    r = attach_check_clearance(a, c, attachment, error);
    if (r < 0)
        return a->caller ? r : 0;
    return clearance_give(c, attachment, a->grant, a->wish.observe);
}

static void on_attached(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_bus_error_ sd_bus_error refusal = SD_BUS_ERROR_NULL;
    struct attach *a = userdata;
    int r, added;

    if (error) {
        if (!a->answered && !auth_is_unlimited(a->caller) &&
            sd_bus_error_has_name(error, PTRACED_ERROR_NOT_PERMITTED))
            audit_refused(a->caller, a, "Attach", error->message);
        attach_fail(a, error);
        return;
    }
    r = sd_bus_message_read(reply, "b", &added);
    if (r < 0) {
        fail_errno(a, r);
        return;
    }
    if (a->session->closed) { /* CloseSession has detached it */
        attach_fail_closed(a);
        return;
    }

    r = note_attached(a, &refusal);
    if (r < 0) {
        attach_fail_with(a, r, &refusal);
        return;
    }
    if (!a->answered && a->grant == ATTACH_PROVEN)
        audit_granted(a, PTRACED_OPTION_PROOF);
    if (!a->answered)
        r = reply_attached(a, added);
    else if (added && a->tracee->tracer && !is_wanted_by_another(a))
        r = undo(a, a->tracee->tracer);
    if (r < 0)
        log_warning(&a->broker->log, "Cannot end a request to attach to process %d: %s",
                    a->target.pid, strerror(-r));
    attach_end(a);
}

static int send_attach(struct attach *a)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    const char *signature = sd_bus_message_get_signature(a->call, true);
    const char first[] = {signature[0], '\0'};
    struct tracer *t = a->tracee->tracer;
    int r;

    r = tracer_new_call(t, "Attach", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "shu", a->session->id, a->pidfd, (uint32_t)a->tid);
    if (r >= 0)
        r = grant_append(m, a);
    if (r < 0)
        return r;
    /* The options are the call's second argument. */
    r = sd_bus_message_rewind(a->call, true);
    if (r < 0)
        return r;
    r = sd_bus_message_skip(a->call, first);
    if (r < 0)
        return r;
    r = sd_bus_message_copy(m, a->call, false);
    if (r < 0)
        return r;
    r = tracer_call(t, m, WIRE_NO_TIMEOUT, a->target.pid, on_attached, a);
    if (r < 0)
        return r;
    a->is_sent = true;
    list_remove(&a->attaches);
    list_append(&a->broker->attaches, &a->attaches);
    return 0;
}

static void on_opened(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct attach *a = userdata;
    struct share *share;
    int r;

    if (error) {
        attach_fail(a, error);
        return;
    }
    share = a->session->closed ? NULL : share_find(a->session, a->tracee->tracer);
    if (!share) {
        attach_fail_closed(a);
        return;
    }
    if (!share->open) {
        share->open = true;
        events_share_changed(a->session);
    }
    /* Ahead of the attach, so that no event is missed. */
    share_update_stream(share);
    if (a->answered) {
        attach_end(a);
        return;
    }
    r = send_attach(a);
    if (r < 0)
        fail_errno(a, r);
}

/* A unique name is one only on the bus that has given it, which may be another one when a broker
 * after us reads this. */
static char *owner_and_bus(const struct session *s)
{
    sd_id128_t id;
    char *text;

    if (*s->owner == '\0' || sd_bus_get_bus_id(s->broker->bus, &id) < 0)
        return strdup(s->owner);
    return asprintf(&text, "%s@" SD_ID128_FORMAT_STR, s->owner, SD_ID128_FORMAT_VAL(id)) < 0 ? NULL
                                                                                             : text;
}

static int send_open(struct attach *a)
{
    _cleanup_free_string_ char *owner = owner_and_bus(a->session);
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    const struct session *s = a->session;
    struct tracer *t = a->tracee->tracer;
    struct share *share;
    int r;

    if (!owner)
        return -ENOMEM;
    r = tracer_new_call(t, "OpenSession", &m);
    if (r < 0)
        return r;
    r = sd_bus_message_append(m, "susssbuuu", s->id, (uint32_t)s->uid, s->name, owner,
                              s->persistent ? PTRACED_LIFETIME_PERSISTENT : PTRACED_LIFETIME_CLIENT,
                              (int)s->queue, limit_value(LIMIT_EVENTS),
                              limit_value(LIMIT_BREAKPOINTS), limit_value(LIMIT_THREADS));
    if (r < 0)
        return r;
    r = share_get(a->session, t, &share);
    if (r < 0)
        return r;
    return tracer_call(t, m, WIRE_NO_TIMEOUT, a->target.pid, on_opened, a);
}

void attach_open(struct attach *a)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    int r;

    a->at_tracer = true;
    if (a->session->closed) {
        attach_fail_closed(a);
        return;
    }
    r = a->answered ? 0 : attach_check_listeners(a->session, a->caller, a->call, &error);
    if (r < 0) {
        attach_fail(a, &error);
        return;
    }
    r = send_open(a);
    if (r < 0)
        fail_errno(a, r);
}
