/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/grant.h"
#include "bus-api/internal.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/session.h"

/* Root's sessions, and those in which the tracer has no more rights than its client: embedded, and
 * on a user's bus. */
static bool grants_everything(const struct session *s)
{
    return s->broker->mode != BROKER_SYSTEM || s->uid == 0;
}

int grant_append(sd_bus_message *m, const struct session *s)
{
    const int everything = grants_everything(s), undumpable = 0;
    const uint64_t none = 0;

    return sd_bus_message_append(m, PTRACED_GRANT_SIGNATURE, everything, 0, 0, none, none,
                                 undumpable);
}
