/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What ptracectl exits with; --help tells the same. `run` exits with its program's status instead,
 * 128 + N where signal N killed it, and keeps to env(1) and timeout(1) for its own failures. */
enum exit_code {
    CTL_OK = 0,
    CTL_FAILURE = 1,
    CTL_USAGE = 2,
    CTL_NOT_FOUND = 3,     /* no such process, thread or session, or the session doesn't trace it */
    CTL_NOT_PERMITTED = 4, /* by the kernel or by policy */
    CTL_ALREADY_TRACED = 5, /* by somebody who is not ptraced */
    CTL_UNREACHABLE = 6,    /* the service does not answer */
    CTL_TIMED_OUT = 7,      /* the tracee or its tracer did not answer in time */

    CTL_RUN_FAILED = 125,         /* ptracectl itself failed */
    CTL_RUN_CANNOT_EXECUTE = 126, /* the program was found but could not be executed */
    CTL_RUN_NOT_FOUND = 127,      /* there is no such program */
    CTL_SIGNAL_BASE = 128,
};
