/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A page that userfaultfd(2) is to fill, and that nobody does: who touches it waits for ever.
 *
 * It says "ready page=A", or "cannot" where the kernel doesn't let it, and then says again what it
 * is told. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

#define PAGE 4096ul

int main(void)
{
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register area = {.mode = UFFDIO_REGISTER_MODE_MISSING};
    char line[64];
    void *page;
    int fd;

    tracee_start();
    fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        tracee_fail("mmap");
    area.range.start = (unsigned long)page;
    area.range.len = PAGE;
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &area) < 0) {
        tracee_say("cannot");
        return 0;
    }
    tracee_say("ready page=%lu", (unsigned long)page);
    while (tracee_listen(line))
        tracee_say("%s", line);
    return 0;
}
