/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A seccomp filter of its own asks the tracer about getppid() (SECCOMP_RET_TRACE, with 42 as data).
 *
 * At each line it calls it, and answers result=N error=N: ENOSYS where no tracer wants to be asked.
 * It says "ready NUMBER" of the call. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static void install_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 42),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
        tracee_fail("prctl(PR_SET_SECCOMP)");
}

int main(void)
{
    char line[64];

    tracee_start();
    install_filter();
    tracee_say("ready %d", SYS_getppid);
    while (tracee_listen(line)) {
        long result = syscall(SYS_getppid);

        tracee_say("result=%ld error=%d", result, result < 0 ? errno : 0);
    }
    return 0;
}
