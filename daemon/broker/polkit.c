/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/limits.h"
#include "daemon/broker/polkit.h"

#define AUTHORITY                                                                                  \
    "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",                         \
        "org.freedesktop.PolicyKit1.Authority"

#define ALLOW_USER_INTERACTION 1u

/* Of all users: to so many that each further one has to be its user's first, and together. The
 * system bus lets us wait for 128 answers, and pings take the others (flow.c). */
#define QUESTIONS_SHARED 20u
#define QUESTIONS_ALL 28u

struct polkit_check {
    struct list questions; /* of the broker */
    struct broker *broker;
    uid_t uid;
    sd_bus_slot *slot;
    polkit_answer_t answer;
    void *userdata;
    bool interactive;
    char cancellation[32];
};

static void check_freep(struct polkit_check **c)
{
    if (*c) {
        list_remove(&(*c)->questions);
        sd_bus_slot_unref((*c)->slot);
    }
    free(*c);
}

static int check_room(const struct broker *b, uid_t uid, sd_bus_error *error)
{
    size_t n_own = 0, n_all = 0;

    LIST_FOREACH(struct polkit_check, c, &b->questions, questions) {
        n_own += c->uid == uid;
        n_all++;
    }
    if (n_all >= QUESTIONS_ALL || (n_all >= QUESTIONS_SHARED && n_own > 0))
        return sd_bus_error_setf(
            error, PTRACED_ERROR_LIMIT_EXCEEDED,
            "The limit AllQuestionsMax is reached: no more than %u questions to "
            "polkit under way for all users, and beyond %u one for each of "
            "them; try again when some of them are answered",
            QUESTIONS_ALL, QUESTIONS_SHARED);
    return limit_check(LIMIT_QUESTIONS, n_own, error);
}

static enum polkit_verdict read_answer(sd_bus_message *m)
{
    int authorized, challenge;

    if (sd_bus_message_enter_container(m, SD_BUS_TYPE_STRUCT, "bba{ss}") < 0 ||
        sd_bus_message_read(m, "bb", &authorized, &challenge) < 0)
        return POLKIT_NO;
    return authorized ? POLKIT_YES : challenge ? POLKIT_CHALLENGE : POLKIT_NO;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    _cleanup_(check_freep) struct polkit_check *c = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    enum polkit_verdict verdict = error ? POLKIT_UNAVAILABLE : read_answer(m);

    /* Who could have been asked was, and nobody has answered. */
    if (verdict == POLKIT_CHALLENGE && c->interactive)
        verdict = POLKIT_NO;
    c->answer(verdict, error ? error->message : NULL, c->userdata);
    return 1;
}

static int append_details(sd_bus_message *m, const char *const *details)
{
    int r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{ss}");

    for (; r >= 0 && details[0]; details += 2)
        r = sd_bus_message_append(m, "{ss}", details[0], details[1]);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int polkit_ask(struct broker *b, const struct polkit_question *q, polkit_answer_t answer,
               void *userdata, struct polkit_check **ret, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;
    _cleanup_(check_freep) struct polkit_check *c = NULL;
    int r;

    r = check_room(b, q->uid, error);
    if (r < 0)
        return r;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    list_append(&b->questions, &c->questions);
    c->broker = b;
    c->uid = q->uid;
    c->answer = answer;
    c->userdata = userdata;
    c->interactive = q->interactive;
    snprintf(c->cancellation, sizeof(c->cancellation), "ptraced-%" PRIu64, ++b->last_question);
    r = sd_bus_message_new_method_call(b->bus, &m, AUTHORITY, "CheckAuthorization");
    if (r >= 0)
        r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s", q->subject,
                                  q->action);
    if (r >= 0)
        r = append_details(m, q->details);
    if (r >= 0)
        r = sd_bus_message_append(m, "us", q->interactive ? ALLOW_USER_INTERACTION : 0u,
                                  c->cancellation);
    if (r >= 0) /* people think as long as they like; they are asked on behalf of one who waits */
        r = sd_bus_call_async(b->bus, &c->slot, m, on_answer, c,
                              q->interactive ? UINT64_MAX : b->tracer_timeout_usec);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

struct polkit_check *polkit_cancel(struct polkit_check *c)
{
    if (!c)
        return NULL;
    /* Of one that was not asked about anybody it knows nothing, which is no matter. */
    (void)sd_bus_call_method_async(c->broker->bus, NULL, AUTHORITY, "CancelCheckAuthorization",
                                   NULL, NULL, "s", c->cancellation);
    check_freep(&c);
    return NULL;
}
