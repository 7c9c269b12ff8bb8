/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct caller;
struct requester;

/* Which program calls, by its name, for a dialog: the keeper is asked, which sees it. */

/* NULL: it is not known, as where it has ended. */
typedef void (*requester_told_t)(const char *comm, void *userdata);

/* 1: it will be told, once and later; 0: it cannot be known; or a negative errno. */
int requester_look(const struct caller *c, requester_told_t told, void *userdata,
                   struct requester **ret);

/* Nobody wants to know any more. Accepts NULL; returns NULL. */
struct requester *requester_cancel(struct requester *q);
