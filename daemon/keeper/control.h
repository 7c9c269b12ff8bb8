/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* What a keeper tells its tracer over the control socket (SOCK_SEQPACKET). Both come from one
 * build, so the structure has no version. The socket's end is a message too: the keeper is gone. */

enum control_order {
    CONTROL_ADOPT = 1,   /* one descriptor comes along: a socket to a (new) broker */
    CONTROL_RELEASE = 2, /* detach everything, then exit */
};

struct control_message {
    uint32_t order;
};

/* The descriptors that a tracer is started with. */
#define TRACER_CONTROL_FD 3
#define TRACER_LEDGER_FD 4
#define TRACER_QUOTA_FD 5
