/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/rights.h"
#include "bus-api/errors.h"
#include "bus-api/names.h"

enum { YAMA_ADMINISTRATOR = 2, YAMA_NOBODY = 3 };

static bool is_member(const struct subject *s, gid_t group)
{
    for (size_t i = 0; i < s->n_groups; i++)
        if (s->groups[i] == group)
            return true;
    return false;
}

bool rights_is_own(const struct subject *s, const struct target *t)
{
    for (size_t i = 0; i < 3; i++)
        if (t->uids[i] != s->uid || !is_member(s, t->gids[i]))
            return false;
    return t->permitted == 0 && t->dumpable && t->user_namespace != 0 &&
           t->user_namespace == s->user_namespace;
}

bool rights_own_is_enough(bool own, uint32_t yama_scope)
{
    return own && yama_scope < YAMA_ADMINISTRATOR;
}

const char *rights_action(bool own, bool observe, uint32_t yama_scope)
{
    if (rights_own_is_enough(own, yama_scope))
        return observe ? PTRACED_ACTION_OBSERVE : PTRACED_ACTION_CONTROL;
    return observe ? PTRACED_ACTION_OBSERVE_OTHER : PTRACED_ACTION_CONTROL_OTHER;
}

int rights_check_machine(const struct target *t, sd_bus_error *error)
{
    if (t->yama_scope < YAMA_NOBODY)
        return 0;
    return sd_bus_error_setf(error, PTRACED_ERROR_NOT_SUPPORTED,
                             "Process %d cannot be traced: kernel.yama.ptrace_scope is %u, which "
                             "forbids tracing until the next boot",
                             t->pid, t->yama_scope);
}
