/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

/* Questions to polkit, without waiting for the answer. The subject is a unique name on the bus: who
 * that is, polkit finds out itself. */

struct broker;

enum polkit_verdict {
    POLKIT_YES,
    POLKIT_NO,
    POLKIT_CHALLENGE,   /* somebody would have to be asked, and the caller did not allow it */
    POLKIT_UNAVAILABLE, /* `why` says what is wrong with it */
};

struct polkit_question {
    const char *subject;
    uid_t uid; /* whose that is: they are counted */
    const char *action;
    /* Key, value, key, ..., NULL: for rules, and for the dialog. Printable UTF-8. */
    const char *const *details;
    bool interactive; /* a dialog may be shown, and then the answer may take minutes */
};

struct polkit_check;

/* Calls back once, unless it is cancelled. */
typedef void (*polkit_answer_t)(enum polkit_verdict verdict, const char *why, void *userdata);

/* Error.LimitExceeded where too many are under way. */
int polkit_ask(struct broker *b, const struct polkit_question *q, polkit_answer_t answer,
               void *userdata, struct polkit_check **ret, sd_bus_error *error);

/* Nobody wants to know any more: a dialog is taken down. Accepts NULL; returns NULL. */
struct polkit_check *polkit_cancel(struct polkit_check *c);
