/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <seccomp.h>
#include <stddef.h>

#include "bus-api/macro.h"
#include "daemon/tracer/confine.h"

/* By name: what a machine does not have is left out. Not an ALLOW list, since what libc and sd-bus
 * call changes with them, and a tracer that is refused something harms what it traces. */
static const char *const unused[] = {
    /* programs */
    "execve",
    "execveat",
    "uselib",
    /* others */
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    /* files */
    "creat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "mknod",
    "mknodat",
    "truncate",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "utimensat",
    "futimesat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "chroot",
    "chdir",
    "fchdir",
    "name_to_handle_at",
    "open_by_handle_at",
    /* mounts and name spaces */
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    /* credentials */
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "setgroups",
    "capset",
    "keyctl",
    "add_key",
    "request_key",
    "personality",
    /* the system */
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "swapon",
    "swapoff",
    "reboot",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "quotactl",
    "acct",
    "syslog",
    "iopl",
    "ioperm",
    "lookup_dcookie",
    "fanotify_init",
    "vhangup",
};

static int add_rules(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < ELEMENTSOF(unused); i++) {
        int number = seccomp_syscall_resolve_name(unused[i]);
        int r = number == __NR_SCMP_ERROR
                    ? 0
                    : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);

        if (r < 0 && r != -EDOM) /* another machine's */
            return r;
    }
    return 0;
}

int confine_self(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r;

    if (!filter)
        return -ENOMEM;
    /* A call that fails is better than a tracer that is killed. */
    r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
    if (r >= 0)
        r = add_rules(filter);
    if (r >= 0)
        r = seccomp_load(filter); /* and no new privileges */
    seccomp_release(filter);
    return r;
}
