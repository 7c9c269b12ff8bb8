/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/broker/proof.h"
#include "daemon/broker/target.h"

void proof_of_fd(int fd, struct proof *ret)
{
    int flags = fcntl(fd, F_GETFL);
    struct statx st;

    *ret = (struct proof){.given = true, .fd = fd};
    /* DONT_SYNC: of a FUSE file its own process would be asked, which need not answer. */
    if (flags < 0 || (flags & O_PATH) ||
        statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
        return;
    ret->writes = (flags & O_ACCMODE) == O_RDWR;
    ret->reads = ret->writes || (flags & O_ACCMODE) == O_RDONLY;
    ret->device = makedev(st.stx_dev_major, st.stx_dev_minor);
    ret->inode = st.stx_ino;
}

bool proof_is_of(const struct proof *p, const struct target *t, bool observe)
{
    return p->reads && (observe || p->writes) && t->memory_inode != 0 &&
           p->inode == t->memory_inode && p->device == t->memory_device;
}
