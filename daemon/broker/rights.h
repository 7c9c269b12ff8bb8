/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "daemon/broker/target.h"

/* Whom a caller has to be allowed to trace, and what it takes. Pure. */

/* Who wants to trace. */
struct subject {
    uid_t uid;
    const gid_t *groups;
    size_t n_groups;
    uint64_t user_namespace; /* 0: unknown */
};

/* Whether a process is the subject's own, as the kernel sees it: real, effective and saved user are
 * the subject's, the groups are among its own, it has no capabilities, is dumpable and in the same
 * user namespace (kernel/ptrace.c:__ptrace_may_access()). */
bool rights_is_own(const struct subject *s, const struct target *t);

/* Whether it takes no more than tracing what is one's own does. With Yama's scope 2 that is not
 * enough: one's own takes an administrator too, as it does without us. */
bool rights_own_is_enough(bool own, uint32_t yama_scope);

/* The polkit action for a process, to observe or to control it. */
const char *rights_action(bool own, bool observe, uint32_t yama_scope);

/* 0; or Error.NotSupported where the machine's owner has forbidden tracing as a whole. */
int rights_check_machine(const struct target *t, sd_bus_error *error);
