/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the service writes into the journal about who traces what: one MESSAGE_ID for each kind,
 * which the catalog explains (units/ptraced.catalog), and fields of our own. */

#define PTRACED_AUDIT_GRANT_ID "63525fc361824c9181116f811ba40cd5"
#define PTRACED_AUDIT_REFUSAL_ID "6dd83fa813e540c596343ebc48b0cd30"
#define PTRACED_AUDIT_REFUSALS_ID "d6dab40ff22f4403aaeb60c9650cb50a"
#define PTRACED_AUDIT_ATTACH_ID "b7b2dbd632de4d80bb5d49ac9834082b"
#define PTRACED_AUDIT_RELEASE_ID "8caa0dba11b6497b9a5d7030a088d5e4"
#define PTRACED_AUDIT_LOSS_ID "6cf34884428049189cdee60183d7d04e"
#define PTRACED_AUDIT_CHILDREN_ID "db4919497300434eb71f2a6004e7b7a4"
#define PTRACED_AUDIT_PERMITS_ID "332838b1a19848808a461fcd301cdf20"

#define PTRACED_AUDIT_UID "PTRACED_UID"               /* of who traces */
#define PTRACED_AUDIT_CALLER "PTRACED_CALLER"         /* its name on the bus */
#define PTRACED_AUDIT_BY_UID "PTRACED_BY_UID"         /* of who releases what another traces, */
#define PTRACED_AUDIT_BY "PTRACED_BY"                 /* and its name */
#define PTRACED_AUDIT_SESSION "PTRACED_SESSION"       /* id */
#define PTRACED_AUDIT_PID "PTRACED_PID"               /* of what is traced */
#define PTRACED_AUDIT_EXECUTABLE "PTRACED_EXECUTABLE" /* escaped */
#define PTRACED_AUDIT_ACCESS "PTRACED_ACCESS"
#define PTRACED_AUDIT_ACTION "PTRACED_ACTION" /* polkit's, "proof", "root", or what was called */
#define PTRACED_AUDIT_REASON "PTRACED_REASON" /* of a release, a loss or a refusal */
#define PTRACED_AUDIT_LIMIT "PTRACED_LIMIT"   /* that was set, and to what */
#define PTRACED_AUDIT_VALUE "PTRACED_VALUE"
#define PTRACED_AUDIT_USEC "PTRACED_USEC"   /* how long it was traced */
#define PTRACED_AUDIT_COUNT "PTRACED_COUNT" /* how many one entry stands for */

#define PTRACED_AUDIT_ROOT "root" /* who is not asked */
