/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Errors on the bus. Each maps to one errno (errors.c), so that sd_bus_error_get_errno() gives a
 * client the number that the same failure has inside, and sd_bus_error_setf() its return value. The
 * other way, from number to name, the service does not go. */

#define PTRACED_ERROR_NO_SUCH_SESSION "org.ptraced.Tracer1.Error.NoSuchSession"
#define PTRACED_ERROR_NO_SUCH_PROCESS "org.ptraced.Tracer1.Error.NoSuchProcess"
#define PTRACED_ERROR_NO_SUCH_THREAD "org.ptraced.Tracer1.Error.NoSuchThread"
#define PTRACED_ERROR_NOT_ATTACHED "org.ptraced.Tracer1.Error.NotAttached"
#define PTRACED_ERROR_ALREADY_TRACED "org.ptraced.Tracer1.Error.AlreadyTraced"
#define PTRACED_ERROR_NOT_PERMITTED "org.ptraced.Tracer1.Error.NotPermitted"
#define PTRACED_ERROR_NOT_SUPPORTED "org.ptraced.Tracer1.Error.NotSupported"
#define PTRACED_ERROR_NOT_STOPPED "org.ptraced.Tracer1.Error.NotStopped"
#define PTRACED_ERROR_BAD_ADDRESS "org.ptraced.Tracer1.Error.BadAddress"
#define PTRACED_ERROR_NO_SUCH_BREAKPOINT "org.ptraced.Tracer1.Error.NoSuchBreakpoint"
#define PTRACED_ERROR_EXCLUDED "org.ptraced.Tracer1.Error.Excluded"
#define PTRACED_ERROR_NO_EVENT "org.ptraced.Tracer1.Error.NoEvent"
#define PTRACED_ERROR_INVALID_OPTION "org.ptraced.Tracer1.Error.InvalidOption"
#define PTRACED_ERROR_LIMIT_EXCEEDED "org.ptraced.Tracer1.Error.LimitExceeded"
#define PTRACED_ERROR_TIMED_OUT "org.ptraced.Tracer1.Error.TimedOut"
#define PTRACED_ERROR_TRACER_GONE "org.ptraced.Tracer1.Error.TracerGone"

/* Makes the map known to sd_bus_error_get_errno(). A program that
 * links this folder statically calls it once at its start; calling it again changes nothing.
 * Not thread-safe against itself on the first call. */
void ptraced_errors_register(void);
