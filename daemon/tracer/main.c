/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "config.h"
#include "daemon/keeper/control.h"
#include "daemon/tracer/confine.h"
#include "daemon/tracer/loop.h"
#include "daemon/tracer/tracer.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
/* LeakSanitizer stops its own process with ptrace(2), which a tracer that its keeper guards does
 * not allow; tests look for the tracer's leaks where nobody guards it. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

static int run(void)
{
    struct tracer *t;
    int r;

    if (fcntl(TRACER_CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(TRACER_LEDGER_FD, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(TRACER_QUOTA_FD, F_SETFD, FD_CLOEXEC) < 0) {
        fprintf(stderr,
                "ptraced-tracer %s is started by ptraced-keeper, which gives it its sockets.\n",
                PTRACED_VERSION);
        return 2;
    }
    /* Where Yama restricts tracing, the guardian has to be named. */
    (void)prctl(PR_SET_PTRACER, (unsigned long)getppid(), 0, 0, 0);
    /* It was executed by a descriptor, whose number would be its name. */
    (void)prctl(PR_SET_NAME, "ptraced-tracer", 0, 0, 0);
    ptraced_errors_register();

    r = confine_self();
    if (r < 0)
        fprintf(stderr, "ptraced-tracer: Cannot drop system calls, going on with all: %s\n",
                strerror(-r));
    r = tracer_new(TRACER_CONTROL_FD, TRACER_LEDGER_FD, TRACER_QUOTA_FD, &t);
    if (r < 0) {
        fprintf(stderr, "ptraced-tracer: Could not start the tracer: %s\n", strerror(-r));
        return 1;
    }
    r = loop_run(t);
    if (r < 0)
        fprintf(stderr, "ptraced-tracer: The tracer gives up: %s; its tracees run on\n",
                strerror(-r));
    tracer_free(t);
    return r < 0 ? 1 : 0;
}

int main(void)
{
    return run();
}
