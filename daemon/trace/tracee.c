/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/tracee.h"

#define NO (-EINVAL)

/* Notes on what looks odd:
 *  - SIGKILL, an exec and the end of the group break every stop, so a STOPPED thread may report a
 *    further stop or its end.
 *  - An exec by another thread takes over the leader's id, whatever state the leader was in.
 *  - A NEW thread needs no interrupt: its first stop comes by itself. */
/* clang-format off */
static const int8_t transitions[TRACEE_STATE_MAX][TRACEE_INPUT_MAX] = {
    /*                   INTERRUPT        STOP            CONT            LISTEN            END */
    [TRACEE_NEW]       = {TRACEE_NEW,      TRACEE_STOPPED, NO,             NO,               TRACEE_GONE},
    [TRACEE_RUNNING]   = {TRACEE_STOPPING, TRACEE_STOPPED, NO,             NO,               TRACEE_GONE},
    [TRACEE_STOPPING]  = {TRACEE_STOPPING, TRACEE_STOPPED, NO,             NO,               TRACEE_GONE},
    [TRACEE_STOPPED]   = {NO,              TRACEE_STOPPED, TRACEE_RUNNING, TRACEE_LISTENING, TRACEE_GONE},
    [TRACEE_LISTENING] = {TRACEE_STOPPING, TRACEE_STOPPED, NO,             NO,               TRACEE_GONE},
    [TRACEE_EXITING]   = {NO,              TRACEE_STOPPED, NO,             NO,               TRACEE_GONE},
    [TRACEE_GONE]      = {NO,              NO,             NO,             NO,               NO},
};
/* clang-format on */

int tracee_next_state(enum tracee_state state, enum stop_kind stop, enum tracee_input input)
{
    int next = transitions[state][input];

    if (next == TRACEE_RUNNING && stop == STOP_EXIT)
        return TRACEE_EXITING;
    return next;
}

void tracee_apply(struct tracee *t, enum tracee_input input)
{
    int next = tracee_next_state(t->state, t->stop, input);

    assert(next >= 0);
    t->state = (uint8_t)next;
    if (next != TRACEE_STOPPED)
        t->stop = STOP_NONE;
}

const char *tracee_state_to_string(const struct tracee *t)
{
    static const char *const names[TRACEE_STATE_MAX] = {
        [TRACEE_NEW] = "running",          [TRACEE_RUNNING] = "running",
        [TRACEE_STOPPING] = "stopping",    [TRACEE_STOPPED] = "stopped",
        [TRACEE_LISTENING] = "group-stop", [TRACEE_EXITING] = "exiting",
        [TRACEE_GONE] = "exited",
    };

    if (t->state == TRACEE_RUNNING && t->resumed <= RESUME_BLOCK_STEP)
        return "stepping";
    return names[t->state];
}
