/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/clearance.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/process.h"
#include "daemon/broker/rights.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"

/* Whether somebody who is not root may trace a process: polkit is asked.
 *
 * What the question names is fixed before it is asked: the process by its pidfd, the caller by its
 * name on the bus, the credentials by what the keeper has read, which is also what the tracer
 * compares with when it attaches (daemon/trace/grant.h). So it does not matter what the target does
 * while people think; whether it can still be traced is asked again afterwards. */

/* ---- The answer ----------------------------------------------------------------------------- */

static const char *name_of(const struct target *t)
{
    return t->executable ? t->executable : t->comm;
}

static const char *access_of(const struct attach *a)
{
    return a->wish.observe ? PTRACED_ACCESS_OBSERVE : PTRACED_ACCESS_CONTROL;
}

static void refuse(struct attach *a, enum polkit_verdict verdict, bool own, const char *action,
                   const char *why)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    const struct target *t = &a->asked;
    /* /proc need not tell a user what another's process is: nor do we. */
    const char *name = own ? name_of(t) : "not your own";

    if (verdict == POLKIT_CHALLENGE)
        sd_bus_error_setf(
            &error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
            "To %s process %d (%s) takes the polkit action %s, for which somebody has to "
            "authenticate, and the call does not allow to ask",
            access_of(a), t->pid, name, action);
    else if (verdict == POLKIT_UNAVAILABLE)
        sd_bus_error_setf(&error, PTRACED_ERROR_NOT_PERMITTED,
                          "To %s process %d (%s) takes the polkit action %s, and polkit does "
                          "not answer: %s",
                          access_of(a), t->pid, name, action, why);
    else
        sd_bus_error_setf(&error, PTRACED_ERROR_NOT_PERMITTED,
                          "User %u may not %s process %d (%s): polkit refuses the action %s",
                          a->caller->uid, access_of(a), t->pid, name, action);
    audit_refused(a->caller, a, action, error.message);
    attach_fail(a, &error);
}

static struct subject subject_of(const struct attach *a)
{
    return (struct subject){
        .uid = a->caller->uid,
        .groups = a->caller->groups,
        .n_groups = a->caller->n_groups,
        .user_namespace = a->asker_namespace,
    };
}

static bool is_own(const struct attach *a)
{
    const struct subject s = subject_of(a);

    return rights_is_own(&s, &a->asked);
}

/* What the session traces as more than its user's own takes as much as that, whatever it is now. */
static enum attach_grant what_it_takes(const struct attach *a, const struct attachment *attached)
{
    return rights_own_is_enough(is_own(a), a->asked.yama_scope) && (!attached || attached->plain)
               ? ATTACH_OWN
               : ATTACH_OTHER;
}

static const char *action_of(const struct attach *a)
{
    return rights_action(a->asks_for == ATTACH_OWN, a->wish.observe, a->asked.yama_scope);
}

static void on_answer(enum polkit_verdict verdict, const char *why, void *userdata)
{
    struct attach *a = userdata;

    a->check = NULL;
    if (verdict != POLKIT_YES) {
        refuse(a, verdict, is_own(a), action_of(a), why);
        return;
    }
    a->grant = a->asks_for;
    audit_granted(a, action_of(a));
    attach_restart_timer(a);
    attach_go_on(a);
}

/* ---- The question --------------------------------------------------------------------------- */

static int ask(struct attach *a, sd_bus_error *error)
{
    const struct attachment *attached = attachment_find(a->session, a->asked.pid, NULL);
    char pid[16], user[16];
    int r;
    const struct target *t = &a->asked;
    const char *details[] = {
        "pid",
        pid,
        "executable",
        name_of(t),
        "user", /* a number: to look up its name may take as long as it likes */
        user,
        "access",
        access_of(a),
        "requester",
        *a->asker ? a->asker : "a program that has ended",
        NULL,
    };
    struct polkit_question q = {
        .subject = a->caller->name,
        .uid = a->caller->uid,
        .details = details,
        .interactive = sd_bus_message_get_allow_interactive_authorization(a->call) > 0,
    };

    a->asks_for = what_it_takes(a, attached);
    a->n_executed = attached ? attached->n_executed : 0;
    q.action = action_of(a);
    snprintf(pid, sizeof(pid), "%d", t->pid);
    snprintf(user, sizeof(user), "%u", t->uids[0]);
    attach_pause_timer(a);
    r = polkit_ask(a->broker, &q, on_answer, a, &a->check, error);
    if (r < 0 && !sd_bus_error_is_set(error))
        return sd_bus_error_set_errnof(error, r, "Cannot ask polkit: %s", strerror(-r));
    return r;
}

static void ask_or_fail(struct attach *a)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    if (ask(a, &error) < 0)
        attach_fail(a, &error);
}

static void fail_closed(struct attach *a)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    sd_bus_error_setf(&error, PTRACED_ERROR_NO_SUCH_SESSION, "Session %s has been closed",
                      a->session->id);
    attach_fail(a, &error);
}

/* Of a caller that cannot be looked at nothing is known, and then nothing is its own. */
static void on_asker(sd_bus_message *reply, const sd_bus_error *error, void *userdata)
{
    struct attach *a = userdata;
    struct target asker;

    if (a->answered || a->session->closed) {
        fail_closed(a);
        return;
    }
    if (!error && target_read(reply, &asker) >= 0) {
        a->asker_namespace = asker.user_namespace;
        snprintf(a->asker, sizeof(a->asker), "%s", asker.comm);
        target_done(&asker);
    }
    ask_or_fail(a);
}

static int inspect(struct attach *a, int pidfd, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    struct keeper_link *k = &a->broker->keeper;
    int r;

    r = keeper_link_new_call(k, "Inspect", &m, error);
    if (r >= 0)
        r = sd_bus_message_append(m, "hu", pidfd, 0u);
    return r < 0 ? r : keeper_link_call(k, m, on_asker, a, error);
}

/* By its pidfd, where the bus tells it: a number may be another process's by now. */
static int inspect_asker(struct attach *a, sd_bus_error *error)
{
    const struct caller *c = a->caller;
    int r, pidfd;

    if (c->pidfd >= 0) {
        r = inspect(a, c->pidfd, error);
        return r < 0 ? r : 0;
    }
    if (c->pid <= 0 || process_open(c->pid, &pidfd) < 0) {
        r = ask(a, error);
        return r < 0 ? r : 0;
    }
    r = inspect(a, pidfd, error);
    close(pidfd);
    return r < 0 ? r : 0;
}

static int check_proof(struct attach *a, sd_bus_error *error)
{
    int r;

    if (proof_is_of(&a->wish.proof, &a->asked, a->wish.observe)) {
        const struct attachment *attached = attachment_find(a->session, a->asked.pid, NULL);

        a->grant = ATTACH_PROVEN;
        r = attached ? attach_check_clearance(a, a->caller, attached, error) : 0;
        return r < 0 ? r : 1;
    }
    r = sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                          "The proof is none for process %d: it has to be /proc/%d/mem, of the "
                          "system's own /proc, opened since its last exec, for writing too where "
                          "not access \"observe\" is asked for; without a proof polkit is asked",
                          a->asked.pid, a->asked.pid);
    audit_refused(a->caller, a, PTRACED_OPTION_PROOF, error->message);
    return r;
}

int attach_check_clearance(const struct attach *a, const struct caller *c,
                           const struct attachment *attached, sd_bus_error *error)
{
    int r;

    if (clearance_is_possible(c, attached, a->grant, a->wish.observe))
        return 0;
    if (a->grant == ATTACH_PROVEN)
        r = sd_bus_error_setf(
            error, PTRACED_ERROR_NOT_PERMITTED,
            "A proof is not enough for process %d, which was not its user's alone "
            "when it was attached; without one polkit is asked",
            a->target.pid);
    else
        r = sd_bus_error_setf(error, PTRACED_ERROR_NOT_PERMITTED,
                              "Process %d has been attached meanwhile, when it was not its user's "
                              "alone; polkit has to be asked about that: try again",
                              a->target.pid);
    audit_refused(c, a, a->grant == ATTACH_PROVEN ? PTRACED_OPTION_PROOF : "Attach",
                  error->message);
    return r;
}

int attach_authorize(struct attach *a, sd_bus_error *error)
{
    int r;

    if (a->grant != ATTACH_NOTHING)
        return 1;
    if (auth_is_unlimited(a->caller)) {
        if (a->broker->mode == BROKER_SYSTEM && a->session->uid != a->caller->uid &&
            !a->wish.joins) {
            r = sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                  "What root attaches in session %s, user %u would control; "
                                  "attach in a session of your own",
                                  a->session->id, a->session->uid);
            audit_call_refused(a->caller, a->call, error->message);
            return r;
        }
        a->grant = ATTACH_EVERYTHING;
        return 1;
    }
    a->asked = a->target;
    a->target.executable = NULL; /* which the other has now */
    a->target.program = NULL;
    r = rights_check_machine(&a->asked, error);
    if (r < 0) {
        audit_refused(a->caller, a, "Attach", error->message);
        return r;
    }
    if (a->wish.proof.given)
        return check_proof(a, error);
    return inspect_asker(a, error);
}

void attach_session_closed(const struct session *s)
{
    struct attach *a;

    do {
        a = NULL;
        LIST_FOREACH(struct attach, one, &s->broker->attaches, attaches)
            if (one->check && one->session == s)
                a = one;
        if (a)
            fail_closed(a);
    } while (a);
}

void attach_drop_questions(struct broker *b)
{
    struct attach *a;

    do {
        a = NULL;
        LIST_FOREACH(struct attach, one, &b->attaches, attaches)
            if (one->check)
                a = one;
        if (a)
            attach_abandon(a);
    } while (a);
}
