/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"
#include "daemon/broker/tracer-link.h"

/* The end of a request that attaches nothing: its caller may trace the target, which the session
 * traces already, and is authorised for that (clearance.h). */

static int not_attached(const struct attach *a, sd_bus_error *error)
{
    return sd_bus_error_setf(error, PTRACED_ERROR_NOT_ATTACHED,
                             "Session %s does not trace process %d", a->session->id, a->target.pid);
}

/* A pid may have been given to another process before the tracer could say so: that is not traced,
 * or by another tracer. */
static struct attachment *find_joined(const struct attach *a)
{
    struct attachment *attachment = attachment_find(a->session, a->target.pid, NULL);
    const struct tracer *t = attachment ? attachment->tracee->tracer : NULL;

    return t && attachment->id == a->wish.attachment &&
                   (a->target.tracer == 0 || a->target.tracer == t->pid)
               ? attachment
               : NULL;
}

static int finish(struct attach *a, struct attachment *attachment, sd_bus_error *error)
{
    int r = attach_check_clearance(a, a->caller, attachment, error);

    if (r >= 0 && a->grant != ATTACH_EVERYTHING)
        r = clearance_give(a->caller, attachment, a->grant, a->wish.observe);
    if (r >= 0)
        r = a->wish.replays ? sd_bus_enqueue_for_read(a->broker->bus, a->call)
                            : sd_bus_reply_method_return(a->call, NULL);
    if (r >= 0)
        attach_end(a);
    return r;
}

/* ---- By a proof ----------------------------------------------------------------------------- */

static void on_proved(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
    struct attachment *attachment;
    struct attach *a = userdata;
    int r;

    if (a->session->closed) {
        attach_fail_closed(a);
        return;
    }
    if (error && !a->answered && sd_bus_error_has_name(error, PTRACED_ERROR_NOT_PERMITTED))
        audit_refused(a->caller, a, PTRACED_OPTION_PROOF, error->message);
    if (error || a->answered) {
        attach_fail(a, error);
        return;
    }
    attachment = attachment_find(a->session, a->target.pid, NULL);
    if (attachment && attachment->id == a->wish.attachment) {
        audit_granted(a, PTRACED_OPTION_PROOF);
        r = finish(a, attachment, &failure);
    } else
        r = not_attached(a, &failure);
    if (r < 0)
        attach_fail_with(a, r, &failure);
}

/* The descriptor may be of before an exec, which the tracer alone can tell. */
static int prove(struct attach *a, const struct attachment *attachment, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct tracer *t = attachment->tracee->tracer;
    int r = tracer_check_takes(t, a->target.pid, error);

    if (r >= 0)
        r = tracer_new_call(t, "Prove", &m);
    if (r >= 0)
        r = sd_bus_message_append(m, "suhb", a->session->id, (uint32_t)a->target.pid,
                                  a->wish.proof.fd, (int)a->wish.observe);
    if (r < 0)
        return r;
    attach_pause_timer(a); /* the call has its own */
    r = tracer_call(t, m, a->broker->tracer_timeout_usec, a->target.pid, on_proved, a);
    return tracer_explain(r, a->target.pid, error);
}

/* ---- At all --------------------------------------------------------------------------------- */

int attach_join(struct attach *a, sd_bus_error *error)
{
    struct attachment *attachment = find_joined(a);
    int r;

    if (!attachment)
        return not_attached(a, error);
    if (a->grant == ATTACH_PROVEN)
        return prove(a, attachment, error);
    if (a->grant == ATTACH_OTHER &&
        (!target_is_same(&a->target, &a->asked) || attachment->n_executed != a->n_executed)) {
        r = sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                              "Process %d is no longer what polkit was asked about", a->target.pid);
        audit_refused(a->caller, a, "Attach", error->message);
        return r;
    }
    return finish(a, attachment, error);
}
