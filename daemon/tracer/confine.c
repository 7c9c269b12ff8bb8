/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stddef.h>

#include "bus-api/macro.h"
#include "daemon/tracer/confine.h"

/* By name: what a machine does not have is left out. Not an ALLOW list, since what libc and sd-bus
 * call changes with them, and a tracer that is refused something harms what it traces. */
static const char *const unused[] = {
    /* programs */
    "execve", "execveat", "uselib",
    /* others */
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4",
    /* files */
    "creat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
    "symlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "truncate", "chmod", "fchmod",
    "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
    "utimensat", "futimesat", "setxattrat", "removexattrat", "open_tree_attr", "setxattr",
    "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "chroot", "chdir",
    "fchdir", "name_to_handle_at", "open_by_handle_at",
    /* mounts and name spaces */
    "mount", "umount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "unshare", "setns",
    /* credentials */
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid",
    "setgroups", "capset", "keyctl", "add_key", "request_key", "personality",
    /* the system */
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf",
    "perf_event_open", "userfaultfd", "swapon", "swapoff", "reboot", "settimeofday",
    "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "quotactl",
    "acct", "syslog", "iopl", "ioperm", "lookup_dcookie", "fanotify_init", "vhangup"};

static int refuse(scmp_filter_ctx filter, const char *name)
{
    int number = seccomp_syscall_resolve_name(name), r = 0;

    if (number != __NR_SCMP_ERROR)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
    return r == -EDOM ? 0 : r; /* another machine's */
}

/* Opening is for what is there. Of openat2() a filter does not see how it opens: who calls that
 * knows machines without it. */
static int refuse_creation(scmp_filter_ctx filter)
{
    int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(openat), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));

    if (r >= 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(open), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT));
    if (r >= 0 || r == -EDOM)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(openat2), 0);
    return r == -EDOM ? 0 : r;
}

static int add_rules(scmp_filter_ctx filter)
{
    int r = refuse_creation(filter);

    for (size_t i = 0; r >= 0 && i < ELEMENTSOF(unused); i++)
        r = refuse(filter, unused[i]);
    return r;
}

/* A call that fails is better than a tracer that is killed; and older kernels slow down who has a
 * filter, unless told otherwise. */
static int set_attributes(scmp_filter_ctx filter)
{
    int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));

    if (r >= 0)
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (r >= 0)
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    return r;
}

int confine_self(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r;

    if (!filter)
        return -ENOMEM;
    r = set_attributes(filter);
    if (r >= 0)
        r = add_rules(filter);
    if (r >= 0)
        r = seccomp_load(filter); /* and no new privileges */
    seccomp_release(filter);
    return r;
}
