/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "daemon/broker/attach.h"
#include "daemon/broker/audit-user.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/auth.h"
#include "daemon/broker/caller.h"
#include "daemon/broker/events.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/measure.h"
#include "daemon/broker/options.h"
#include "daemon/broker/process.h"
#include "daemon/broker/session.h"
#include "daemon/broker/tracee.h"

/* What the attach methods of Session have in front of the chain: the call is read, checked and
 * authorised. */

static int check_call(const struct session *s, const struct caller *c, sd_bus_message *call,
                      sd_bus_error *error)
{
    struct measure size;
    int r;

    r = auth_check(c, s, call, error);
    return r < 0 ? r : measure_check(call, MEASURE_CALL, &size, error);
}

/* Who is sent the session's events was authorised for what it traces, but not for this. */
int attach_check_listeners(const struct session *s, const struct caller *c, sd_bus_message *call,
                           sd_bus_error *error)
{
    const char *other = NULL;
    int r;

    if (auth_is_unlimited(c))
        return 0;
    LIST_FOREACH(struct subscription, u, &s->subscriptions, of_session)
        if (u->caller != c && !auth_is_unlimited(u->caller))
            other = u->caller->name;
    LIST_FOREACH(struct waiter, w, &s->waiters, of_session) {
        const struct caller *waits = caller_of(s->broker, w->call);

        if (waits != c && !auth_is_unlimited(waits))
            other = waits->name;
    }
    if (!other)
        return 0;
    r = sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                          "Another connection (%s) gets the events of session %s, and was not "
                          "authorised for what this one attaches; attach in a session of its own",
                          other, s->id);
    audit_call_refused(c, call, error->message);
    return r;
}

/* Values are the tracer's to judge; it is not made for a key or type that is wrong. */
static int read_attach_options(sd_bus_message *call, struct attach_wish *ret, sd_bus_error *error)
{
    const char *access = PTRACED_ACCESS_CONTROL;
    int proof = -1;
    const struct option_rule rules[] = {
        {PTRACED_OPTION_ACCESS, "s", &access},
        {PTRACED_OPTION_PROOF, "h", &proof},
        {PTRACED_OPTION_THREADS, "s", NULL},
        {PTRACED_OPTION_CHILDREN, "s", NULL},
        {PTRACED_OPTION_STOP, "b", NULL},
        {PTRACED_OPTION_ALL_STOP, "b", NULL},
        {PTRACED_OPTION_EVENTS, "as", NULL},
        {PTRACED_OPTION_STOPS, "as", NULL},
        {PTRACED_OPTION_EXIT, "s", NULL},
        {PTRACED_OPTION_SYSCALLS, "at", NULL},
        {PTRACED_OPTION_RESULTS, "ai", NULL},
        {PTRACED_OPTION_PASS_SIGNALS, "ai", NULL},
        {PTRACED_OPTION_CAPTURES, "a(uussuu)", NULL},
    };
    int r = options_read(call, rules, ELEMENTSOF(rules), error);

    *ret = (struct attach_wish){.observe = strcmp(access, PTRACED_ACCESS_OBSERVE) == 0};
    if (r >= 0 && proof >= 0)
        proof_of_fd(proof, &ret->proof);
    if (r >= 0 && !ret->observe && strcmp(access, PTRACED_ACCESS_CONTROL) != 0)
        return sd_bus_error_set(error, PTRACED_ERROR_INVALID_OPTION,
                                "The option \"access\" is neither \"observe\" nor \"control\"");
    return r;
}

/* Once the call is in order. */
static int check_limits(const struct session *s, const struct caller *c, sd_bus_message *call,
                        sd_bus_error *error)
{
    int r;

    r = attach_check_listeners(s, c, call, error);
    if (r >= 0)
        r = caller_check_user(c, error);
    if (r >= 0)
        r = limit_check(LIMIT_TRACEES, session_count_tracees(s->broker, s->uid), error);
    if (r < 0 || auth_is_unlimited(c))
        return r;
    return audit_user_attach(c->broker, c->uid, error);
}

static int check_number(uint32_t number, const char *what, sd_bus_error *error)
{
    if (number > 0 && number <= INT_MAX)
        return 0;
    return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%u is no %s", number, what);
}

static int open_process(pid_t pid, int *ret_pidfd, sd_bus_error *error)
{
    int r = process_open(pid, ret_pidfd);

    if (r == -ESRCH)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS, "There is no process %d",
                                 pid);
    if (r == -EINVAL)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                 "%d is a thread, not a process; attach to its process, or to it "
                                 "alone with AttachThread",
                                 pid);
    return r;
}

int attach_process(struct session *s, struct caller *c, sd_bus_message *call, sd_bus_error *error)
{
    uint32_t pid;
    struct attach_wish wish;
    int r, pidfd;

    r = check_call(s, c, call, error);
    if (r < 0)
        return r;
    r = sd_bus_message_read(call, "u", &pid);
    if (r < 0)
        return r;
    r = read_attach_options(call, &wish, error);
    if (r < 0)
        return r;
    r = check_number(pid, "process", error);
    if (r < 0)
        return r;
    r = check_limits(s, c, call, error);
    if (r < 0)
        return r;
    r = open_process((pid_t)pid, &pidfd, error);
    if (r < 0)
        return r;
    return attach_begin(s, c, call, pidfd, 0, &wish, error);
}

int attach_process_fd(struct session *s, struct caller *c, sd_bus_message *call,
                      sd_bus_error *error)
{
    int r, received, pidfd;
    struct attach_wish wish;
    pid_t pid;

    r = check_call(s, c, call, error);
    if (r < 0)
        return r;
    r = sd_bus_message_read(call, "h", &received);
    if (r < 0)
        return r;
    r = read_attach_options(call, &wish, error);
    if (r < 0)
        return r;
    r = process_of_pidfd(received, &pid);
    if (r == -EBADF)
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                "The descriptor is no pidfd, as pidfd_open(2) makes them");
    if (r == -ESRCH)
        return sd_bus_error_set(error, PTRACED_ERROR_NO_SUCH_PROCESS,
                                "The process of the pidfd has ended");
    if (r < 0)
        return r;
    r = check_limits(s, c, call, error);
    if (r < 0)
        return r;
    pidfd = fcntl(received, F_DUPFD_CLOEXEC, 3);
    if (pidfd < 0)
        return -errno;
    return attach_begin(s, c, call, pidfd, 0, &wish, error);
}

int attach_thread(struct session *s, struct caller *c, sd_bus_message *call, sd_bus_error *error)
{
    uint32_t tid;
    struct attach_wish wish;
    int r;

    r = check_call(s, c, call, error);
    if (r < 0)
        return r;
    r = sd_bus_message_read(call, "u", &tid);
    if (r < 0)
        return r;
    r = read_attach_options(call, &wish, error);
    if (r < 0)
        return r;
    r = check_number(tid, "thread", error);
    if (r < 0)
        return r;
    r = check_limits(s, c, call, error);
    if (r < 0)
        return r;
    return attach_begin(s, c, call, -1, (pid_t)tid, &wish, error);
}

static int check_join(const struct caller *c, sd_bus_error *error)
{
    int r = caller_check_user(c, error);

    return r < 0 || auth_is_unlimited(c) ? r : audit_user_join(c->broker, c->uid, error);
}

static int join(struct session *s, struct caller *c, sd_bus_message *call,
                const struct attachment *attachment, struct attach_wish *wish, sd_bus_error *error)
{
    int r, pidfd;

    wish->joins = true;
    wish->observe = attachment->observe;
    wish->attachment = attachment->id;
    r = open_process(attachment->pid, &pidfd, error);
    return r < 0 ? r : attach_begin(s, c, call, pidfd, 0, wish, error);
}

int attach_check_first(const struct caller *c, sd_bus_message *call, sd_bus_error *error)
{
    struct measure size;
    int r = measure_check(call, MEASURE_CALL, &size, error);

    return r < 0 ? r : check_join(c, error);
}

int attach_authorize_first(struct session *s, struct caller *c, sd_bus_message *call,
                           const struct attachment *attachment, sd_bus_error *error)
{
    struct attach_wish wish = {.replays = true};
    int r = attach_check_first(c, call, error);

    return r < 0 ? r : join(s, c, call, attachment, &wish, error);
}

int attach_authorize_process(struct session *s, struct caller *c, sd_bus_message *call,
                             sd_bus_error *error)
{
    const struct attachment *attachment;
    struct attach_wish wish = {0};
    int r, proof = -1;
    const struct option_rule rules[] = {{PTRACED_OPTION_PROOF, "h", &proof}};
    uint32_t pid;

    r = check_call(s, c, call, error);
    if (r < 0)
        return r;
    r = sd_bus_message_read(call, "u", &pid);
    if (r < 0)
        return r;
    r = options_read(call, rules, ELEMENTSOF(rules), error);
    if (r < 0)
        return r;
    if (proof >= 0)
        proof_of_fd(proof, &wish.proof);
    attachment = pid <= INT_MAX ? attachment_find(s, (pid_t)pid, NULL) : NULL;
    if (!attachment)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_ATTACHED,
                                 "Session %s does not trace process %u", s->id, pid);
    r = check_join(c, error);
    return r < 0 ? r : join(s, c, call, attachment, &wish, error);
}
