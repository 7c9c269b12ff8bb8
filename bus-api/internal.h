/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The private half of the bus API: what broker, keeper and tracer say to each other over their
 * socketpairs. No client sees these names. Keeper and tracers are of one build, for they outlive an
 * upgrade together; the broker that comes after it may be of another one. So a change of a message
 * takes another number for both interfaces. docs/architecture.md tells the protocol in prose. */

#define PTRACED_KEEPER_PATH "/org/ptraced/Keeper"
#define PTRACED_KEEPER_INTERFACE "org.ptraced.Internal3.Keeper"

/* Has one method, Retire, which is the same in every version: everything is released, and the
 * keeper ends. */
#define PTRACED_RETIRE_INTERFACE "org.ptraced.Internal"

#define PTRACED_TRACER_PATH "/org/ptraced/Tracer"
#define PTRACED_TRACER_INTERFACE "org.ptraced.Internal3.Tracer"

/* ThreadEvents that a tracer may send ahead of the broker's Credit, per session. */
#define PTRACED_STREAM_WINDOW 256u

/* Events that wait in a session's queue at one tracer; of one user there may be less. */
#define PTRACED_QUEUE_MAX 1024u

/* What a tracer tells of a process of a session's: pid, number of threads, whether it is only
 * observed, whether it had its user's rights alone, its real user, since when (CLOCK_MONOTONIC, usec),
 * and its executable, escaped. */
#define PTRACED_DESCRIBED_CONTENTS "uubbuts"
#define PTRACED_DESCRIBED_SIGNATURE "(" PTRACED_DESCRIBED_CONTENTS ")"

/* What a session may trace at the most (daemon/trace/grant.h): everything, users, groups,
 * capabilities, user namespace, undumpable, one program alone and its path, by proof, usec for
 * which observers hold it at first, usec at a raised class, and of what passes the part that comes
 * back of those.
 * Without `everything`, what is not named is not granted. */
#define PTRACED_GRANT_CONTENTS "bauauttbbaybttu"
#define PTRACED_GRANT_SIGNATURE "(" PTRACED_GRANT_CONTENTS ")"
